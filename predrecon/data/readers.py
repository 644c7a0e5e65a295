"""Where text comes from: local files, a local data folder, or the hub. Reads, never caches.

All readers stream, and turn bad input into a `SourceError` that names file and column.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

SUFFIXES = (".parquet", ".jsonl", ".txt")

WAYS_OUT = (
    "Three ways out: (1) go online, so that the hub can be reached; (2) put the files on this "
    "machine and name them, either by path or by PREDRECON_DATA / data_dir (see README, 'Real "
    "data'); (3) use the embedded default, {embedded}, which needs no download."
)


class SourceError(ValueError):
    """Text or labels that cannot be read. The message names what was read and the way out."""


def read_rows(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    """Rows of one parquet, jsonl or txt file as dictionaries of `columns`.

    A txt file has the one column `text`; its documents are separated by blank lines.

    Raises:
        SourceError: no such file, an empty one, another format than its name says, a missing
            column, a missing value, or text that is not UTF-8.
    """
    if not path.is_file():
        raise SourceError(f"{path}: no such file.")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty.")
    readers = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".txt": _read_txt}
    if path.suffix not in readers:
        raise SourceError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}.")
    count = 0
    try:
        for row in readers[path.suffix](path, columns):
            for column in columns:
                if row[column] is None:
                    raise SourceError(f"{path}: column {column!r} has no value in row {count}.")
                if isinstance(row[column], str):
                    row[column].encode()  # JSON can hold half a character: "\\ud800"
            count += 1
            yield row
    except UnicodeEncodeError:
        raise SourceError(
            f"{path}: column {column!r} holds half a surrogate pair in row {count}, which is not "
            "text. Remove or repair that row."
        ) from None
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{path}: column {', '.join(map(repr, columns))} is not valid UTF-8 after row {count} "
            f"(byte {error.object[error.start : error.start + 1]!r}). Convert the file to UTF-8."
        ) from None
    if count == 0:
        raise SourceError(f"{path}: the file holds no rows.")


def count_rows(path: Path) -> int:
    """Rows of a file where that is cheap to know (parquet), else 0."""
    if path.suffix != ".parquet" or not path.is_file() or path.stat().st_size == 0:
        return 0
    return _open_parquet(path).metadata.num_rows


def _read_parquet(path: Path, columns) -> Iterator[dict]:
    import pyarrow

    file = _open_parquet(path)
    _check_columns(path, columns, file.schema_arrow.names)
    batches = file.iter_batches(batch_size=1024, columns=list(columns))
    while True:
        try:
            batch = next(batches, None)
        except (pyarrow.ArrowInvalid, OSError) as error:  # a damaged page in a sound file
            raise SourceError(f"{path}: damaged parquet file ({error}).") from None
        if batch is None:
            return
        yield from batch.to_pylist()


def _open_parquet(path: Path):
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not a parquet file ({error}).") from None


def _read_jsonl(path: Path, columns) -> Iterator[dict]:
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise SourceError(f"{path}, line {number}: not JSON ({error}).") from None
            if not isinstance(row, dict):
                raise SourceError(f"{path}, line {number}: expected an object, got {line[:40]!r}.")
            _check_columns(path, columns, row)
            yield row


def _read_txt(path: Path, columns) -> Iterator[dict]:
    _check_columns(path, columns, ("text",))
    with path.open(encoding="utf-8") as lines:
        document: list[str] = []
        for line in lines:
            if line.strip():
                document.append(line.strip())
            elif document:
                yield {"text": "\n".join(document)}
                document = []
        if document:
            yield {"text": "\n".join(document)}


def _check_columns(path: Path, wanted, present):
    if missing := [c for c in wanted if c not in present]:
        raise SourceError(
            f"{path}: no column {', '.join(map(repr, missing))}; it has {', '.join(present)}."
        )


def hub_dataset(repository: str, config: str, split: str, tried: list[str], embedded: str):
    """One split from the hub (or its local cache). Offline and not cached: an error in seconds."""
    import datasets

    try:
        with _offline_unless_reachable():
            return datasets.load_dataset(repository, config, split=split)
    except (OSError, ValueError) as error:  # ConnectionError is an OSError
        tried.append(f"the hub's {repository} ({config}): {_first_line(error)}")
        raise SourceError(_not_found(tried, embedded)) from None


def hub_tokenizer(name: str, tried: list[str], embedded: str):
    """A tokenizer from the hub (or its local cache); errors as `hub_dataset`."""
    from transformers import AutoTokenizer

    try:
        with _offline_unless_reachable():
            return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        tried.append(f"the hub's tokenizer {name}: {_first_line(error)}")
        raise SourceError(_not_found(tried, embedded)) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _not_found(tried: list[str], embedded: str) -> str:
    looked = "\n".join(f"  - {place}" for place in tried)
    return f"Not found. Tried:\n{looked}\n{WAYS_OUT.format(embedded=embedded)}"


@contextlib.contextmanager
def _offline_unless_reachable():
    """Ask the hub once, briefly; without an answer, let the libraries read their cache only.

    Left alone they retry for 23 s (datasets) to 48 s (transformers) before they give up.
    """
    import datasets
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    try:
        if not constants.HF_HUB_OFFLINE:
            get_session().head(constants.ENDPOINT, timeout=3)
    except Exception:  # whatever the HTTP library of the day raises: no answer is no answer
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
