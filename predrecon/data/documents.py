"""Which documents make a corpus, and which of them are held out. Streams."""

import contextlib
import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from predrecon.data import embedded_text, hub, paths, readers
from predrecon.data.files import sha256, write_text
from predrecon.data.readers import SourceError

EMBEDDED_CORPUS = "docstrings"
HUB_CORPORA = {
    "wikitext-103": ("Salesforce/wikitext", "wikitext-103-raw-v1", ("train", "validation")),
    "wikipedia": ("wikimedia/wikipedia", "20231101.en", ("train",)),
}
_HELD_OUT_NAMES = ("validation", "valid", "dev", "test")
_HELD_OUT = 50  # one document in so many, where a source brings no validation split


@dataclass(frozen=True)
class Source:
    """`read(split)` yields documents; `digest` identifies them; `count`: how many, 0 if unknown."""

    read: Callable[[str], Iterator[str]]
    digest: str
    count: int = 0


def open_source(name: str, root: Path | None) -> Source:
    """The source of a corpus by name or path; `root` is the local data folder, if there is one."""
    if name == EMBEDDED_CORPUS:
        documents, key = embedded_text.documents(), embedded_text.fingerprint()
        return Source(
            lambda split: (d.text for d in documents if d.split == split), key, len(documents)
        )
    if name in HUB_CORPORA:
        folder = root / name if root else None
        source = _from_path(folder) if folder and folder.is_dir() else _from_hub(name, folder)
        if name != "wikitext-103":
            return source
        # its rows are lines, the hub's and local ones alike
        return Source(lambda split: _articles(source.read(split)), f"articles {source.digest}")
    path = Path(name).expanduser()
    if not path.exists():
        raise SourceError(
            f"Corpus {name!r}: neither a known name nor a path on this machine. "
            f"Known names: {', '.join((EMBEDDED_CORPUS, *HUB_CORPORA))}."
        )
    return _from_path(path)


def _from_path(path: Path) -> Source:
    """A file, whatever it is called, or a folder of which some files' names say "held out"."""
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix in readers.SUFFIXES)
    if not files:
        raise SourceError(f"{path}: no {', '.join(readers.SUFFIXES)} file in this folder.")
    held_out = [f for f in files if f != path and f.stem.split("-")[0] in _HELD_OUT_NAMES]
    train = [file for file in files if file not in held_out]
    if not train:
        raise SourceError(f"{path}: only held-out files, none to train on.")

    def read(part: list[Path]) -> Iterator[dict]:
        return itertools.chain.from_iterable(readers.read_rows(file, ("text",)) for file in part)

    parts = [functools.partial(read, part) for part in (train, held_out) if part]
    return _source(files, sum(map(readers.count_rows, files)), *parts)


def _from_hub(name: str, missing: Path | None) -> Source:
    repository, config, splits = HUB_CORPORA[name]
    tried = [str(missing or "PREDRECON_DATA (not set)")]
    ways_out = {"tried": tried, "fallback": repr(EMBEDDED_CORPUS)}
    parts = [hub.load_split(repository, config, split, **ways_out) for split in splits]
    files = [Path(f["filename"]) for part in parts for f in part.dataset.cache_files]  # as Arrow
    count = sum(len(part.dataset) for part in parts)
    return _source(files, count, *(functools.partial(p.read_rows, ("text",)) for p in parts))


def _source(
    files: list[Path], count: int, train: Callable, held_out: Callable | None = None
) -> Source:
    """From functions that return rows; without the second, one row in `_HELD_OUT` is held out."""

    def read(split: str) -> Iterator[str]:
        validation = split == "validation"
        if held_out:
            return (row["text"] for row in (held_out if validation else train)())
        numbered = enumerate(train())
        return (row["text"] for n, row in numbered if (n % _HELD_OUT == 0) == validation)

    key = digest(*(part for file in files for part in (file.name, _file_digest(file))))
    return Source(read, key, count)


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
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _file_digest(path: Path) -> str:
    """SHA-256 of a file, remembered in the cache for as long as size and time of change stay."""
    state = path.stat()
    key = f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"
    memo, digests = paths.cache_dir() / "digests.json", {}
    with contextlib.suppress(OSError, ValueError):
        digests = json.loads(memo.read_text(encoding="utf-8"))
    if key not in digests:
        digests[key] = sha256(path)
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_text(memo, json.dumps(digests, indent=1))
    return digests[key]
