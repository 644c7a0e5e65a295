"""Rows of local parquet, jsonl and txt files, streamed; errors name file, column and row.

The readers of `datasets` are not used: they pass missing values and numbers on as text, and their
errors name neither file nor row.
"""

import bz2
import codecs
import contextlib
import gzip
import io
import itertools
import json
import lzma
import os
import reprlib
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

# None: not in the standard library
_COMPRESSIONS = {".gz": gzip, ".bz2": bz2, ".xz": lzma, ".zst": None, ".lz4": None, ".zip": None}
_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError)  # of a truncated or overwritten file
_POINTERS = (b"version https://git-lfs.github.com/spec/", b"/annex/objects/")
_MARKS = {  # UTF-32's come first: they begin with UTF-16's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


class SourceError(ValueError):
    """Text or labels that cannot be read. The message names what was read and the way out."""


def read_rows(path: Path, texts: tuple[str, ...], others: tuple[str, ...] = ()) -> Iterator[dict]:
    """Rows of one file as dictionaries of its columns `texts` and `others`, each with a value.

    A txt file has the one column `text`; its documents are separated by blank lines. jsonl and txt
    may be compressed (gz, bz2, xz). They are UTF-8, or what their byte order mark says.
    """
    check_file(path)
    if path.stat().st_size == 0:
        raise SourceError(f"{show(path)}: the file is empty.")
    rows = _READERS[suffixes(path)[0]](path, (*texts, *others))
    return check_rows(show(path), rows, texts, others)


def show(path: str | Path) -> str:
    """A path as text that can be printed: names need not be UTF-8 on disk."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def suffixes(path: Path) -> tuple[str, str]:
    """The format and compression that a file's name states; empty if none."""
    last, before = path.suffix.lower(), Path(path.stem).suffix.lower()
    if last in SUFFIXES:
        return last, ""
    return (before, last) if last in _COMPRESSIONS and before in SUFFIXES else ("", "")


def check_file(path: Path):
    """SourceError if no row can be read from a file, whatever rows it holds."""
    place, (kind, packed) = show(path), suffixes(path)
    if not kind:
        raise SourceError(f"{place}: expected a file that ends in {', '.join(SUFFIXES)}.")
    if packed and (kind == ".parquet" or not _COMPRESSIONS[packed]):
        raise SourceError(f"{place}: {packed} is not read here. Decompress the file first.")
    if path.is_symlink() and not path.exists():
        raise SourceError(f"{place}: a link to {show(os.readlink(path))}, which is not there.")
    if not path.is_file():
        raise SourceError(f"{place}: not a regular file.")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        raise SourceError(f"{place}: cannot be opened ({error.strerror}).") from None
    if start.startswith(_POINTERS):
        raise SourceError(
            f"{place}: a pointer of a large-file store, not the file itself. Fetch that (git lfs "
            "pull, git annex get)."
        )


def is_empty(path: Path) -> bool:
    """Whether a file holds no row, which is allowed for one of many. Reads only its beginning."""
    if path.stat().st_size == 0:
        return True
    if suffixes(path)[0] == ".parquet":
        return count_rows(path) == 0
    with contextlib.suppress(UnicodeDecodeError, *_DAMAGE), _open_text(path) as file:
        return not any(map(str.strip, iter(lambda: file.read(1 << 16), "")))
    return False  # reading it says what is wrong


def encoding(path: Path) -> str:
    """Of a txt or jsonl file: what its byte order mark says, or UTF-8."""
    with _open(path) as file:
        start = file.read(4)
    return next((name for mark, name in _MARKS.items() if start.startswith(mark)), "utf-8")


def check_rows(
    place: str, rows: Iterable[dict], texts: tuple[str, ...], others: tuple[str, ...] = ()
) -> Iterator[dict]:
    """The same rows; errors as in `read_rows`, with `place` for the file."""
    number = -1
    try:
        for number, row in enumerate(rows):
            for column in (*texts, *others):
                value, cell = row[column], f"{place}: column {column!r}"
                if value is None:
                    raise SourceError(f"{cell} has no value in row {number}.")
                if column in texts:
                    if not isinstance(value, str):
                        held = reprlib.repr(value)
                        raise SourceError(f"{cell} holds {held} in row {number}, not text.")
                    value.encode()
            yield row
    except UnicodeEncodeError:  # JSON can hold half a character: "\ud800"
        raise SourceError(
            f"{cell} holds half a surrogate pair in row {number}, which is not text. Remove or "
            "repair that row."
        ) from None
    except UnicodeDecodeError as error:
        name = error.encoding.upper().replace("-SIG", "")
        raise SourceError(
            f"{place}: column {', '.join(map(repr, (*texts, *others)))} is not valid {name} after "
            f"row {number + 1} (byte {error.object[error.start : error.start + 1]!r}). Convert the "
            "text to UTF-8."
        ) from None
    except _DAMAGE as error:
        raise SourceError(
            f"{place}: damaged or cut off after row {number + 1} ({error})."
        ) from None
    if number < 0:
        raise SourceError(f"{place} holds no rows.")


def check_columns(place: str | Path, wanted: Iterable[str], present: Iterable[str]):
    if missing := [column for column in wanted if column not in present]:
        raise SourceError(
            f"{place}: no column {', '.join(map(repr, missing))}; it has {', '.join(present)}."
        )


def count_rows(path: Path) -> int | None:
    """Row count of an intact parquet file; None for others, where counting is not cheap."""
    import pyarrow.parquet

    if suffixes(path)[0] == ".parquet":
        with contextlib.suppress(pyarrow.ArrowException, OSError, ValueError):
            with path.open("rb") as file:
                return pyarrow.parquet.read_metadata(file).num_rows
    return None


def _read_parquet(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    import pyarrow.parquet

    try:
        with path.open("rb") as raw, pyarrow.parquet.ParquetFile(raw) as file:
            check_columns(show(path), columns, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=1024, columns=list(columns)):
                yield from batch.to_pylist()
    except (SourceError, UnicodeDecodeError):
        raise
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise SourceError(
            f"{show(path)}: not a parquet file, or a damaged one ({error})."
        ) from None


def _read_jsonl(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    for number, line in enumerate(_lines(path), start=1):
        line, place = line.removeprefix("\ufeff"), f"{show(path)}, line {number}"
        if not line:
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{place}: not JSON ({error}).") from None
        if not isinstance(row, dict):
            raise SourceError(f"{place}: expected an object, got {line[:40]!r}.")
        check_columns(show(path), columns, row)
        yield row


def _read_txt(path: Path, columns: tuple[str, ...]) -> Iterator[dict]:
    check_columns(show(path), columns, ("text",))
    for blank, lines in itertools.groupby(_lines(path), key=lambda line: not line):
        if not blank:
            yield {"text": "\n".join(lines)}


def _lines(path: Path) -> Iterator[str]:
    with _open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if "\0" in line:
                raise SourceError(
                    f"{show(path)}, line {number}: a zero byte, so this is not text, or UTF-16 "
                    "without a byte order mark. Convert the text to UTF-8."
                )
            yield line.strip()


def _open(path: Path) -> io.BufferedIOBase:
    """A file's bytes, decompressed."""
    packed = suffixes(path)[1]
    return _COMPRESSIONS[packed].open(path, "rb") if packed else path.open("rb")


def _open_text(path: Path) -> io.TextIOWrapper:
    name = encoding(path)
    return io.TextIOWrapper(_open(path), encoding=name)


_READERS = {".parquet": _read_parquet, ".jsonl": _read_jsonl, ".txt": _read_txt}
SUFFIXES = tuple(_READERS)
