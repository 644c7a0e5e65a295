"""Where a corpus's documents come from: the embedded text, the hub, or local files. Streams."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from predrecon.data import docstrings, embedded, paths, readers
from predrecon.data.files import write_text

EMBEDDED = "docstrings"
HUB_CORPORA = {
    "wikitext-103": ("Salesforce/wikitext", "wikitext-103-raw-v1"),
    "wikipedia": ("wikimedia/wikipedia", "20231101.en"),
}
_HELD_OUT = 50  # one document in so many, where a source brings no validation split


@dataclass(frozen=True)
class Source:
    """`read(split)` yields documents; `digest` identifies them; `count`: how many, if known."""

    read: Callable[[str], Iterator[str]]
    digest: str
    count: int = 0


def find(name: str, root: Path | None) -> Source:
    """The source of a corpus by name or path; `root` is the local data folder, if there is one.

    Raises:
        SourceError: nothing of that name here or on the hub.
    """
    if name == EMBEDDED:
        found = embedded.documents()
        return Source(
            lambda split: (d.text for d in found if d.split == split),
            docstrings.fingerprint(),
            len(found),
        )
    if name in HUB_CORPORA:
        source = _local(root / name) if root and (root / name).is_dir() else _on_hub(name, root)
        return _by_article(source) if name == "wikitext-103" else source
    path = Path(name).expanduser()
    if not path.exists():
        raise readers.SourceError(
            f"Corpus {name!r}: neither a known name nor a path on this machine. "
            f"Known names: {', '.join((EMBEDDED, *HUB_CORPORA))}."
        )
    return _local(path)


def _local(path: Path) -> Source:
    files, held_out = [path], []
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.suffix in readers.SUFFIXES)
        names = ("validation", "valid", "dev", "test")
        held_out = [f for f in files if f.stem.split("-")[0] in names]
    if not files:
        raise readers.SourceError(f"{path}: no {', '.join(readers.SUFFIXES)} file in this folder.")
    train = [f for f in files if f not in held_out]
    if not train:
        raise readers.SourceError(f"{path}: only held-out files, none to train on.")

    def read(split: str) -> Iterator[str]:
        for file in held_out if split == "validation" else train:
            for number, row in enumerate(readers.read_rows(file, ("text",))):
                if not isinstance(row["text"], str):
                    raise readers.SourceError(
                        f"{file}: column 'text' holds {row['text']!r} in row {number}, not text."
                    )
                yield row["text"]

    key = digest(*(part for f in files for part in (f.name, _file_digest(f))))
    source = Source(read, key, sum(map(readers.count_rows, files)))
    return source if held_out else _hold_out(source)


def _on_hub(name: str, root: Path | None) -> Source:
    repository, config = HUB_CORPORA[name]
    tried = [f"{root / name}" if root else "PREDRECON_DATA (not set)"]
    train = readers.hub_dataset(repository, config, "train", tried, repr(EMBEDDED))
    key = digest(repository, config, train._fingerprint)
    if name == "wikipedia":  # has no validation split
        return _hold_out(Source(lambda _: (row["text"] for row in train), key, len(train)))

    def read(split: str) -> Iterator[str]:
        rows = train
        if split == "validation":
            rows = readers.hub_dataset(repository, config, split, tried, repr(EMBEDDED))
        return (row["text"] for row in rows)

    return Source(read, key)


def _hold_out(source: Source) -> Source:
    """One document in `_HELD_OUT` for validation, the others for training."""

    def read(split: str) -> Iterator[str]:
        numbered = enumerate(source.read("train"))
        return (d for n, d in numbered if (n % _HELD_OUT == 0) == (split == "validation"))

    return Source(read, source.digest, source.count)


def _by_article(source: Source) -> Source:
    """WikiText's rows are lines: join them to articles, the hub's and local ones alike."""
    return Source(lambda split: _articles(source.read(split)), f"articles {source.digest}")


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
    memo = paths.cache_dir() / "digests.json"
    try:
        known = json.loads(memo.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if key not in known:
        with path.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        memo.parent.mkdir(parents=True, exist_ok=True)
        write_text(memo, json.dumps(known, indent=1))
    return known[key]
