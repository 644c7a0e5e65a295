"""Labelled tasks: the five of GLUE, and five embedded ones of the same shapes.

Each task has a train and a validation split; probes are fitted on the first and reported on the
second, geometry is measured on the second.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from predrecon.data import paths, readers

GLUE = ("sst2", "cola", "mrpc", "mnli", "stsb")
EMBEDDED = ("docs-library", "docs-swap", "docs-edit", "docs-relation", "docs-overlap")
HUB = "nyu-mll/glue"


@dataclass(frozen=True)
class Split:
    """N labelled texts or pairs: `first`, `second` (None for single sentences), `labels [N]`."""

    first: list[str]
    second: list[str] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, n: int) -> "Split":
        second = None if self.second is None else self.second[:n]
        return Split(self.first[:n], second, self.labels[:n])


@dataclass(frozen=True)
class Task:
    """A labelled task.

    Attributes:
        name: e.g. `"sst2"`; title: as printed in tables.
        metric: `"accuracy"`, `"f1"`, `"mcc"` or `"spearman"`.
        classes: names of the classes; empty for graded similarity.
        epochs: of the linear probe (paper, Table 2; CoLA is not in it and gets SST-2's).
        train, validation: `Split`.
        note: what a reader of its numbers must know (empty for official splits).
    """

    name: str
    title: str
    metric: str
    classes: tuple[str, ...]
    epochs: int
    train: Split
    validation: Split
    note: str = ""

    @property
    def kind(self) -> str:
        """Which cross-validated probe fits: see `probes.semantic_probe`."""
        return "classification" if self.classes else "regression"

    def positives(self, labels: np.ndarray) -> np.ndarray | None:
        """`[N]` bool: pairs of one meaning (graded from 4 on, class 1 of two); None without pairs.

        Three classes of relations between sentences (MNLI) hold no class of equal meaning.
        """
        if self.validation.second is None or len(self.classes) > 2:
            return None
        return labels == 1 if self.classes else labels >= 4

    def groups(self, labels: np.ndarray) -> np.ndarray:
        """Classes for class-based metrics: graded labels are binned at 1, 2, 3 and 4."""
        return np.digitize(labels, [1, 2, 3, 4]) if not self.classes else labels


@dataclass(frozen=True)
class _Shape:
    title: str
    columns: tuple[str, ...]
    metric: str
    classes: tuple[str, ...]
    epochs: int
    validation: str
    rows: tuple[int, int]  # of the official splits


_GLUE = {
    "sst2": _Shape("SST-2", ("sentence",), "accuracy", ("negative", "positive"), 90, "validation",
                   (67349, 872)),
    "cola": _Shape("CoLA", ("sentence",), "mcc", ("unacceptable", "acceptable"), 90, "validation",
                   (8551, 1043)),
    "mrpc": _Shape("MRPC", ("sentence1", "sentence2"), "f1", ("different", "paraphrase"), 10,
                   "validation", (3668, 408)),
    "mnli": _Shape("MNLI", ("premise", "hypothesis"), "accuracy",
                   ("entailment", "neutral", "contradiction"), 15, "validation_matched",
                   (392702, 9815)),
    "stsb": _Shape("STS-B", ("sentence1", "sentence2"), "spearman", (), 15, "validation",
                   (5749, 1500)),
}  # fmt: skip


def load_task(name: str, data_dir: str | Path | None = None) -> Task:
    """Open a task.

    Args:
        name: one of `GLUE` or `EMBEDDED`.
        data_dir: a folder that holds `glue/<task>/train.parquet` and `validation.parquet` (MNLI:
            `validation_matched.parquet`), or `<task>/...`; default `PREDRECON_DATA`, then the hub.

    Raises:
        ValueError: an unknown name (the valid ones are listed).
        SourceError: data that cannot be found or read; the message names file and column.
    """
    if name in EMBEDDED:
        from predrecon.data.embedded_tasks import build

        return build(name)
    if name not in GLUE:
        raise ValueError(f"task {name!r}: expected one of {', '.join((*GLUE, *EMBEDDED))}.")
    shape = _GLUE[name]
    root = paths.data_dir(data_dir)
    train, validation = (_split(name, shape, part, root) for part in ("train", shape.validation))
    title, note = shape.title, ""
    if (len(train), len(validation)) != shape.rows:  # said in every table and figure
        title = f"{title} (stand-in)"
        note = (
            f"stand-in, not the official splits: {len(train):,} / {len(validation):,} rows instead "
            f"of {shape.rows[0]:,} / {shape.rows[1]:,}; labels may differ too"
        )
    return Task(name, title, shape.metric, shape.classes, shape.epochs, train, validation, note)


def load_tasks(names: str | list[str] = "auto", *, corpus: str = "", data_dir=None) -> list[Task]:
    """Several tasks: `"glue"`, `"embedded"`, names, or `"auto"`: what belongs to the corpus."""
    if names == "auto":
        names = "embedded" if corpus == "docstrings" else "glue"
    if isinstance(names, str):
        families = {"glue": GLUE, "embedded": EMBEDDED}
        names = list(families.get(names, [n.strip() for n in names.split(",")]))
    return [load_task(name, data_dir) for name in names]


def _split(name: str, shape: _Shape, part: str, root: Path | None) -> Split:
    columns = (*shape.columns, "label")
    places = [root / "glue" / name, root / name] if root else []
    for folder in places:
        for suffix in (".parquet", ".jsonl"):
            file = folder / f"{part}{suffix}"
            if file.is_file():
                return _collect(list(readers.read_rows(file, columns)), shape, str(file))
        if folder.is_dir():
            raise readers.SourceError(f"{folder}: no {part}.parquet (or .jsonl) in this folder.")
    tried = [str(p) for p in places] or ["PREDRECON_DATA (not set)"]
    rows = readers.hub_dataset(HUB, name, part, tried, f"the tasks {', '.join(EMBEDDED)}")
    return _collect(list(rows), shape, f"the hub's {HUB} ({name}, {part})")


def _collect(rows: list[dict], shape: _Shape, where: str) -> Split:
    try:
        labels = np.array([row["label"] for row in rows], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise readers.SourceError(f"{where}: column 'label' is not numeric ({error}).") from None
    highest = len(shape.classes) - 1 if shape.classes else 5
    whole = not shape.classes or (labels == labels.round()).all()
    if not (np.isfinite(labels).all() and labels.min() >= 0 and labels.max() <= highest and whole):
        raise readers.SourceError(
            f"{where}: column 'label' has values from {labels.min()} to {labels.max()}, expected "
            f"{'integers ' if shape.classes else ''}0 to {highest} (a test split has no labels)."
        )
    texts = [[row[column] for row in rows] for column in shape.columns]
    for column, values in zip(shape.columns, texts, strict=True):
        if bad := [v for v in values if not isinstance(v, str)]:
            raise readers.SourceError(f"{where}: column {column!r} holds {bad[0]!r}, not text.")
    second = texts[1] if len(texts) == 2 else None
    return Split(texts[0], second, labels.astype(np.int64) if shape.classes else labels)
