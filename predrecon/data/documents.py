"""Which documents make a corpus, and which of them are held out. All text is streamed."""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from predrecon.data import embedded_text, hub, paths, readers
from predrecon.data.files import sha256, write_text
from predrecon.data.readers import SourceError, show

EMBEDDED_CORPUS = "docstrings"
HUB_CORPORA = {
    "wikitext-103": ("Salesforce/wikitext", "wikitext-103-raw-v1", ("train", "validation")),
    "wikipedia": ("wikimedia/wikipedia", "20231101.en", ("train",)),
}
HELD_OUT_WORDS = frozenset("validation valid val eval dev heldout test".split())
_FIRST_WORDS = ("validation", "valid", "dev", "test")  # held out by the keys of older caches
_HELD_OUT = 50  # one document in this many, if a source has no validation split


@dataclass(frozen=True)
class Source:
    """`read(split)` yields documents, some perhaps without text; `digest` identifies them.

    Attributes:
        count: how many documents there are, 0 if unknown.
        files: `{split: names}` of what is read; no names for `validation`: one document in 50.
        skipped: `{name: reason}` of files next to them that are not read.
    """

    read: Callable[[str], Iterator[str]]
    digest: str
    count: int = 0
    files: dict[str, list[str]] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        """What is read, held out and skipped, in a few words."""
        if not self.files:
            return ""
        train, held_out = self.files["train"], self.files["validation"]
        kept = _listed(held_out) if held_out else f"one document in {_HELD_OUT}"
        parts = [f"files: {len(train) + len(held_out):,}", f"held out: {kept}"]
        if self.skipped:
            parts.append(f"skipped: {_listed([f'{n} ({why})' for n, why in self.skipped.items()])}")
        return ", ".join(parts)


def _listed(names: list[str]) -> str:
    more = [f"{len(names) - 3:,} more"] * (len(names) > 3)
    return ", ".join([*names[:3], *more])


def open_source(name: str, root: Path | None) -> Source:
    """The source of a corpus by name or path; `root` is the local data folder, if there is one."""
    if name == EMBEDDED_CORPUS:
        documents, key = embedded_text.documents(), embedded_text.fingerprint()
        return Source(
            lambda split: (d.text for d in documents if d.split == split), key, len(documents)
        )
    if name in HUB_CORPORA:
        folder = root / name if root else None
        # the rows of WikiText are lines, the hub's and local ones alike
        whole = _articles if name == "wikitext-103" else None
        if folder and folder.is_dir():
            return _from_path(folder, whole)
        return _from_hub(name, folder, whole)
    path = Path(name).expanduser()
    if not path.exists() and not path.is_symlink():
        raise SourceError(
            f"Corpus {name!r}: neither a known name nor a path on this machine. "
            f"Known names: {', '.join((EMBEDDED_CORPUS, *HUB_CORPORA))}."
        )
    return _from_path(path)


def is_held_out(name: Path) -> bool:
    """Whether a file's path within a corpus folder says that it is held out.

    Words are runs of letters. A word of `HELD_OUT_WORDS` in the name of the file or of a folder
    holds the file out (`valid.00.txt`, `dev/1.txt`, not `developer.txt`), unless a folder above it
    is named `train` or `training` (`train/test.txt`).
    """
    for part in name.parts:
        words = re.findall(r"[^\W\d_]+", part.lower())
        if not HELD_OUT_WORDS.isdisjoint(words) or ("held", "out") in itertools.pairwise(words):
            return True
        if not {"train", "training"}.isdisjoint(words):
            return False
    return False


def _from_path(path: Path, whole: Callable | None = None) -> Source:
    """A file, whatever it is called, or a folder of which some files' names say "held out"."""
    files, skipped = ([path], {}) if not path.is_dir() else _files(path)
    for file in files:
        readers.check_file(file)
    if not files:
        others = f"; there are {_listed(list(skipped))}" if skipped else ""
        raise SourceError(
            f"{show(path)}: no {', '.join(readers.SUFFIXES)} file in this folder{others}."
        )
    names = {f: f.relative_to(path if path.is_dir() else path.parent) for f in files}
    held_out = [file for file in files if file != path and is_held_out(names[file])]
    train = sorted({*files} - {*held_out})
    if not train:
        raise SourceError(f"{show(path)}: only held-out files, none to train on.")
    if path.is_dir():  # a file may be empty, but not all files of a split
        train, held_out = _with_rows(train), _with_rows(held_out)
        empty = [names.pop(file) for file in sorted({*files} - {*train, *held_out})]
        files, skipped = list(names), skipped | dict.fromkeys(map(show, empty), "no rows")

    def read(part: list[Path]) -> Iterator[dict]:
        return itertools.chain.from_iterable(readers.read_rows(file, ("text",)) for file in part)

    later = [f"held out {names[f]}" for f in held_out if f.stem.split("-")[0] not in _FIRST_WORDS]
    marked = [f"mark of {names[file]}" for file in files if _has_mark(file)]
    return _source(
        [*_identity({str(name): file for file, name in names.items()}), *later, *marked],
        {
            split: [show(names[file]) for file in part]
            for split, part in (("train", train), ("validation", held_out))
        },
        *(functools.partial(read, part) for part in (train, held_out) if part),
        count=sum(readers.count_rows(file) or 0 for file in files),
        skipped=skipped,
        whole=whole,
    )


def _with_rows(files: list[Path]) -> list[Path]:
    """The files that are not empty; SourceError if all are."""
    rest = [file for file in files if not readers.is_empty(file)]
    if files and not rest:
        raise SourceError(f"{_listed([show(file) for file in files])}: no rows.")
    return rest


def _has_mark(file: Path) -> bool:
    """Whether text begins with the byte order mark of UTF-8, which older caches read as text."""
    return readers.suffixes(file) == (".txt", "") and readers.encoding(file) == "utf-8-sig"


def _files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """Files of text in a folder and its subfolders, sorted, and `{name: why}` of all others."""

    def fail(error: OSError):
        raise SourceError(f"{show(error.filename)}: cannot be opened ({error.strerror}).") from None

    files, skipped = [], {}
    for place, folders, names in os.walk(folder, onerror=fail):
        for name in [*folders, *names]:
            path = Path(place, name)
            if why := _why_not(path):
                skipped[show(path.relative_to(folder)) + "/" * (name in folders)] = why
            elif name in names:
                files.append(path)
        folders[:] = [name for name in folders if not _why_not(Path(place, name))]
    return sorted(files), dict(sorted(skipped.items()))


def _why_not(path: Path) -> str:
    """Why a file or folder in a corpus folder is not read; empty if it is."""
    if path.name.startswith((".", "~$")):
        return "hidden"
    if path.is_dir():
        return "a link to a folder" if path.is_symlink() else ""
    kind, packed = readers.suffixes(path)
    if not kind:
        return f"not {', '.join(readers.SUFFIXES)}"
    if packed and path.with_suffix("").is_file():
        return "also there decompressed"
    if path.exists() and not path.is_file():
        return "not a regular file"
    return ""


def _from_hub(name: str, missing: Path | None, whole: Callable | None = None) -> Source:
    repository, config, splits = HUB_CORPORA[name]
    tried = [str(missing or "PREDRECON_DATA (not set)")]
    ways_out = {"tried": tried, "fallback": repr(EMBEDDED_CORPUS)}
    parts = [hub.load_split(repository, config, split, **ways_out) for split in splits]
    files = [[Path(f["filename"]) for f in part.dataset.cache_files] for part in parts]  # as Arrow
    later = [file for part in files[1:] for file in part]
    return _source(
        _identity({file.name: file for file in [*files[0], *later]}),
        {"train": [file.name for file in files[0]], "validation": [f.name for f in later]},
        *(functools.partial(part.read_rows, ("text",)) for part in parts),
        count=sum(len(part.dataset) for part in parts),
        whole=whole,
    )


def _source(
    key: list[str],
    files: dict[str, list[str]],
    train: Callable,
    held_out: Callable | None = None,
    *,
    whole: Callable | None = None,
    **facts,
) -> Source:
    """A source from functions that return rows; without the second, one in `_HELD_OUT` is held out.

    `whole` joins the texts of rows into documents.
    """

    def texts(rows: Callable) -> Iterator[str]:
        each = (row["text"] for row in rows())
        return whole(each) if whole else each

    def read(split: str) -> Iterator[str]:
        validation = split == "validation"
        if held_out:
            return texts(held_out if validation else train)
        return _share(texts(train), validation)

    identity = digest(*key)
    if whole:
        identity = f"articles{'' if held_out else ', one in 50'} {identity}"
    return Source(read, identity, files=files, **facts)


def _share(texts: Iterable[str], validation: bool) -> Iterator[str]:
    """One text in `_HELD_OUT`, or all others. Blank texts are not counted."""
    number = 0
    for text in texts:
        blank = not text.strip()
        if validation == (not blank and number % _HELD_OUT == 0):
            yield text
        number += not blank


def _articles(lines: Iterator[str]) -> Iterator[str]:
    """Lines as articles: " = Title = " opens one, " = = Section = = " does not."""
    article: list[str] = []
    for line in map(str.strip, lines):
        title = line.startswith("= ") and line.endswith(" =") and not line.startswith("= =")
        if title and article:
            yield "\n".join(article)
            article = []
        if line:
            article.append(line)
    if article:
        yield "\n".join(article)


def digest(*parts: str) -> str:
    """Short hex digest of some strings."""
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _identity(files: dict[str, Path]) -> list[str]:
    """Name and SHA-256 of each file.

    The cache keeps a digest as long as the file's size and modification time stay the same.
    """
    memo, digests, parts = paths.cache_dir() / "digests.json", {}, []
    with contextlib.suppress(OSError, ValueError):
        digests = json.loads(memo.read_text(encoding="utf-8"))
    before = len(digests)
    for name, path in files.items():
        state = path.stat()
        key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
        digests[key] = digests.get(key) or sha256(path)
        parts += [name, digests[key]]
    if len(digests) > before:
        paths.cache_dir(write=True)
        write_text(memo, json.dumps(digests, indent=1))
    return parts
