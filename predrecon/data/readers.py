"""Rows of local parquet, jsonl and txt files. Streams, and names file, column and row of bad input.

By hand, not by `datasets`: its readers pass missing values and numbers on as text, and their errors
name neither file nor row.
"""

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path


class SourceError(ValueError):
    """Text or labels that cannot be read. The message names what was read and the way out."""


def read_rows(path: Path, texts: tuple[str, ...], others: tuple[str, ...] = ()) -> Iterator[dict]:
    """Rows of one file as dictionaries of its columns `texts` and `others`, each with a value.

    A txt file has the one column `text`; its documents are separated by blank lines.
    """
    if path.suffix not in SUFFIXES:
        raise SourceError(f"{path}: expected a file that ends in {', '.join(SUFFIXES)}.")
    if path.stat().st_size == 0:
        raise SourceError(f"{path}: the file is empty.")
    rows = _READERS[path.suffix](path, (*texts, *others))
    return check_rows(str(path), rows, texts, others)


def check_rows(
    place: str, rows: Iterable[dict], texts: tuple[str, ...], others: tuple[str, ...] = ()
) -> Iterator[dict]:
    """The same rows; errors as `read_rows`, with `place` for the file."""
    number = -1
    try:
        for number, row in enumerate(rows):
            for column in (*texts, *others):
                value, cell = row[column], f"{place}: column {column!r}"
                if value is None:
                    raise SourceError(f"{cell} has no value in row {number}.")
                if column in texts:
                    if not isinstance(value, str):
                        raise SourceError(f"{cell} holds {value!r} in row {number}, not text.")
                    value.encode()
            yield row
    except UnicodeEncodeError:  # JSON can hold half a character: "\ud800"
        raise SourceError(
            f"{cell} holds half a surrogate pair in row {number}, which is not text. Remove or "
            "repair that row."
        ) from None
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{place}: column {', '.join(map(repr, (*texts, *others)))} is not valid UTF-8 after "
            f"row {number + 1} (byte {error.object[error.start : error.start + 1]!r}). Convert the "
            "text to UTF-8."
        ) from None
    if number < 0:
        raise SourceError(f"{place} holds no rows.")


def check_columns(place: str | Path, wanted: Iterable[str], present: Iterable[str]):
    if missing := [column for column in wanted if column not in present]:
        raise SourceError(
            f"{place}: no column {', '.join(map(repr, missing))}; it has {', '.join(present)}."
        )


def count_rows(path: Path) -> int:
    """Rows of a file where that is cheap to know (parquet), else 0."""
    import pyarrow.parquet

    with contextlib.suppress(pyarrow.ArrowInvalid, OSError):  # reading it says what is wrong
        return pyarrow.parquet.read_metadata(path).num_rows if path.suffix == ".parquet" else 0
    return 0


def _read_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            check_columns(path, columns, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024, columns=list(columns)):
                yield from batch.to_pylist()
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise SourceError(f"{path}: not a parquet file, or a damaged one ({error}).") from None


def _read_jsonl(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
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
            check_columns(path, columns, row)
            yield row


def _read_txt(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    check_columns(path, columns, ("text",))
    with path.open(encoding="utf-8") as file:
        for blank, lines in itertools.groupby(map(str.strip, file), key=lambda line: not line):
            if not blank:
                yield {"text": "\n".join(lines)}


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".txt": _read_txt}
SUFFIXES = tuple(_READERS)
