"""BLiMP (Warstadt et al. 2020): pairs of sentences, one acceptable, that differ in one respect."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from predrecon.data import hub, paths
from predrecon.data.readers import SourceError, read_rows, show
from predrecon.recipes import read

PARADIGMS, PAIRS = 67, 1000  # of BLiMP: paradigms (UID), and pairs in each
_TEXTS = ("sentence_good", "sentence_bad")
_NAMES = ("UID", "linguistics_term", "field")
_HUB = "nyu-mll/blimp"


@dataclass(frozen=True)
class MinimalPairs:
    """N pairs: sentences `good` and `bad`, and `uid`, `term`, `field` `[N]`, the pair's kind."""

    title: str
    good: list[str]
    bad: list[str]
    uid: np.ndarray
    term: np.ndarray
    field: np.ndarray
    note: str = ""  # what a reader of its numbers must know

    def __len__(self) -> int:
        return len(self.good)


def load_blimp(data_dir: str | Path | None = None, *, max_pairs: int | None = None) -> MinimalPairs:
    """BLiMP, at most the first `max_pairs` of each paradigm (None: all 1,000).

    Read from `data_dir` (default `PREDRECON_DATA`), as `blimp/train.parquet` or `train.jsonl`, else
    from the hub's `nyu-mll/blimp`, which has one configuration a paradigm.

    Raises:
        SourceError: data that cannot be found or read; a paradigm of two fields or terms; an
            empty sentence. The message names file, column and row.
    """
    max_pairs = None if max_pairs is None else read("max_pairs", max_pairs)
    rows = _rows(paths.data_dir(data_dir))
    counts: Counter[str] = Counter()
    kept = []
    for row in rows:
        counts[row["UID"]] += 1
        if max_pairs is None or counts[row["UID"]] <= max_pairs:
            kept.append(row)
    columns = {name: [row[name] for row in kept] for name in (*_TEXTS, *_NAMES)}
    notes, title = [], "BLiMP"
    if (len(counts), set(counts.values())) != (PARADIGMS, {PAIRS}):
        title = "BLiMP (stand-in)"
        notes.append(
            f"stand-in: {len(rows):,} pairs of {len(counts)} paradigms instead of "
            f"{PARADIGMS * PAIRS:,} of {PARADIGMS}"
        )
    if len(kept) < len(rows):
        notes.append(f"the first {max_pairs:,} pairs of each paradigm")
    if equal := sum(row[_TEXTS[0]] == row[_TEXTS[1]] for row in kept):  # BLiMP itself has seven
        notes.append(f"pairs of two equal sentences, hence ties: {equal}")
    texts = (columns[name] for name in _TEXTS)
    columns["field"] = [field.replace("/", "_") for field in columns["field"]]  # BLiMP has both
    names = (np.array(columns[name]) for name in _NAMES)
    return MinimalPairs(title, *texts, *names, "; ".join(notes))


def _rows(root: Path | None) -> list[dict]:
    """All rows, paradigm after paradigm."""
    columns, folder = (*_TEXTS, *_NAMES), root / "blimp" if root else None
    if folder and folder.is_dir():
        files = (folder / "train.parquet", folder / "train.jsonl")
        if not (place := next(filter(Path.is_file, files), None)):
            raise SourceError(f"{show(folder)}: no train.parquet (or .jsonl) in this folder.")
        return _checked(show(place), list(read_rows(place, columns)))
    tried = [str(folder) if folder else "PREDRECON_DATA (not set)"]
    options = dict(tried=tried, fallback="the task docs-swap")
    rows = []
    for name in hub.configurations(_HUB, **options):
        split = hub.load_split(_HUB, name, "train", **options)
        rows += _checked(split.place, list(split.read_rows(columns)))
    return rows


def _checked(place: str, rows: list[dict]) -> list[dict]:
    kinds: dict[str, tuple] = {}
    for number, row in enumerate(rows):
        if empty := next((name for name in _TEXTS if not row[name].strip()), None):
            raise SourceError(
                f"{place}: column {empty!r} holds no text in row {number}. Leave that row out."
            )
        kind = row["linguistics_term"], row["field"]
        if kinds.setdefault(row["UID"], kind) != kind:
            raise SourceError(
                f"{place}: {row['UID']} is {' of '.join(kind)} in row {number}, and "
                f"{' of '.join(kinds[row['UID']])} before: a paradigm has one term and one field."
            )
    return rows
