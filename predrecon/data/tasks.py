"""Labelled tasks: the five of GLUE, five embedded ones of the same shapes, and graded pairs.

Each task has a train and a validation split; probes are fitted on the first and reported on the
second, geometry is measured on the second. Tasks of graded pairs (`SimilarityTask`: STS12-16,
SICK-R) have a test split only: nothing is fitted to them.

Labels in GLUE's files are integers from 0, names of classes, or grades from 0 to 5, as numbers or
as text. Refused, with file, row and reason: any other label (-1: none), grades all up to 1 (another
scale), and splits that no probe of five folds can learn from. Rows sorted by label are shuffled,
always the same way, so that the first 500 or 2,000 are a sample.
"""

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from predrecon.data import embedded_tasks, hub, paths
from predrecon.data.embedded_text import LIBRARIES
from predrecon.data.readers import SourceError, read_rows, show
from predrecon.recipes import names, read
from predrecon.seeding import numpy_generator

GLUE = ("sst2", "cola", "mrpc", "mnli", "stsb")
GLUE_TWIN = {
    "docs-library": "sst2", "docs-swap": "cola", "docs-edit": "mrpc", "docs-relation": "mnli",
    "docs-overlap": "stsb",
}  # fmt: skip
"""`{embedded task: the GLUE task of its shape}`, whose numbers are shown next to its own."""
EMBEDDED = tuple(GLUE_TWIN)
SIMILARITY = ("sts12", "sts13", "sts14", "sts15", "sts16", "stsb", "sick-r")
"""Graded pairs, as `load_similarity_task` opens them; it also opens `"docs-overlap"`."""
_FOLDS = 5  # of the probes


class MissingLabelsError(SourceError):
    """GLUE is neither on this machine nor available from the hub."""


@dataclass(frozen=True)
class Split:
    """N labelled texts or pairs: `first`, `second` (None for single sentences), `labels [N]`."""

    first: list[str]
    second: list[str] | None
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def head(self, n: int | None, name: str = "max_samples") -> "Split":
        """The first `n` (None: all); `name` is what an error calls `n`."""
        n = None if n is None else read(name, n)
        second = None if self.second is None else self.second[:n]
        return Split(self.first[:n], second, self.labels[:n])


@dataclass(frozen=True)
class Task:
    """A labelled task; `title` as printed in tables."""

    name: str
    title: str
    metric: str  # one of `probes.METRICS`
    classes: tuple[str, ...]  # names; empty for graded similarity
    epochs: int  # of the linear probe (paper, Table 2; CoLA is not in it and gets SST-2's)
    train: Split
    validation: Split
    note: str = ""  # what a reader of its numbers must know (empty for official splits)

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
        return _groups(labels, self.classes)


@dataclass(frozen=True)
class SimilarityTask:
    """Pairs of sentences with a grade from 0 to 5: `test.labels [N]`; `title` as in tables."""

    name: str
    title: str
    test: Split
    note: str = ""  # as a `Task`'s


def _groups(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    return labels if classes else np.digitize(labels, [1, 2, 3, 4])


@dataclass(frozen=True)
class _Definition:
    title: str
    metric: str
    epochs: int
    classes: tuple[str, ...]
    examples: Callable | None = None  # makes an embedded task
    columns: tuple[str, ...] = ()  # the texts
    rows: tuple[int, ...] = ()  # of the official splits
    validation: str = "validation"
    label: str = "label"  # the column
    family: str = "glue"  # a folder of the local data
    hub: tuple[str, str] = ()  # data set and configuration, if not GLUE's
    hub_classes: tuple[str, ...] = ()  # the hub's names for the classes, if different


_DEFINITIONS = {
    "sst2": _Definition("SST-2", "accuracy", 90, ("negative", "positive"),
                        columns=("sentence",), rows=(67349, 872)),
    "cola": _Definition("CoLA", "mcc", 90, ("unacceptable", "acceptable"),
                        columns=("sentence",), rows=(8551, 1043)),
    "mrpc": _Definition("MRPC", "f1", 10, ("different", "paraphrase"),
                        columns=("sentence1", "sentence2"), rows=(3668, 408),
                        hub_classes=("not_equivalent", "equivalent")),
    "mnli": _Definition("MNLI", "accuracy", 15, ("entailment", "neutral", "contradiction"),
                        columns=("premise", "hypothesis"), rows=(392702, 9815),
                        validation="validation_matched"),
    "stsb": _Definition("STS-B", "spearman", 15, (),
                        columns=("sentence1", "sentence2"), rows=(5749, 1500)),
    "docs-library": _Definition("Docs-library", "accuracy", 90, tuple(LIBRARIES),
                                embedded_tasks.library),
    "docs-swap": _Definition("Docs-swap", "mcc", 90, ("swapped", "intact"), embedded_tasks.swap),
    "docs-edit": _Definition("Docs-edit", "f1", 10, ("other sentence", "edited copy"),
                             embedded_tasks.edit),
    "docs-relation": _Definition("Docs-relation", "accuracy", 15,
                                 ("next", "same file", "other library"), embedded_tasks.relation),
    "docs-overlap": _Definition("Docs-overlap", "spearman", 15, (), embedded_tasks.overlap),
}  # fmt: skip


def _graded_pairs(title: str, rows: int, hub_name: str) -> _Definition:
    columns, hub_name = ("sentence1", "sentence2"), (f"mteb/{hub_name}", "default")
    return _Definition(title, "spearman", 0, (), columns=columns, rows=(rows,), validation="test",
                       label="score", family="sts", hub=hub_name)  # fmt: skip


_SIMILARITY = {
    "sts12": _graded_pairs("STS12", 3108, "sts12-sts"),
    "sts13": _graded_pairs("STS13", 1500, "sts13-sts"),
    "sts14": _graded_pairs("STS14", 3750, "sts14-sts"),
    "sts15": _graded_pairs("STS15", 3000, "sts15-sts"),
    "sts16": _graded_pairs("STS16", 1186, "sts16-sts"),
    "sick-r": _graded_pairs("SICK-R", 9927, "sickr-sts"),
}
_KNOWN_PARTS = {("sts12", 2358): "without MSRvid"}  # known parts of the official rows
_GRADED = ("stsb", "docs-overlap")  # tasks that have other splits as well


def load_task(name: str, data_dir: str | Path | None = None) -> Task:
    """Open one of `GLUE` or `EMBEDDED`.

    GLUE is read from `data_dir` (default `PREDRECON_DATA`), as `glue/<task>/train.parquet` and
    `validation.parquet` (MNLI: `validation_matched.parquet`) or `<task>/...`, else from the hub.

    Raises:
        SourceError: data that cannot be found or read; the message names file and column.
    """
    task = _definition(name)
    title, parts, notes = task.title, ("train", task.validation), []
    if task.examples:
        splits = [Split(*embedded_tasks.build_split(name, part, task.examples)) for part in parts]
        question = task.examples.__doc__.partition("?")[0]
        notes.append(f"embedded, in the place of {_definition(GLUE_TWIN[name]).title}: {question}?")
    else:
        root = paths.data_dir(data_dir)
        splits = [_read_split(name, part, task, root, _FOLDS) for part in parts]
        title, notes = _checked_rows(name, task, splits)
        for number, split in enumerate(splits):
            if _in_order(_groups(split.labels, task.classes)):
                splits[number] = _shuffled(split)
                notes.append(f"{parts[number]}: rows were in order of their label, shuffled here")
    fields = task.metric, task.classes, task.epochs, *splits
    return Task(name, title, *fields, "; ".join(notes))


def load_similarity_task(name: str, data_dir: str | Path | None = None) -> SimilarityTask:
    """Open one of `SIMILARITY`, or `"docs-overlap"`, which needs no download.

    STS and SICK-R are read from `data_dir` (default `PREDRECON_DATA`), as `sts/<task>/test.parquet`
    or `<task>/...`, else from the hub's `mteb/sts12-sts` and so on (`sentence1, sentence2, score`);
    for STS-B and docs-overlap the validation split is used. Rows are shuffled, always the same way:
    STS lists one source of text after the other, and the first n should be a sample.

    Raises:
        SourceError: data that cannot be found or read; the message names file and column.
    """
    if name in _GRADED:
        task = load_task(name, data_dir)
        notes = [task.note, "validation split (MTEB's numbers are of the test split)"]
        note = "; ".join(filter(None, notes if name == "stsb" else notes[:1]))
        return SimilarityTask(name, task.title, _shuffled(task.validation), note)
    if name not in _SIMILARITY:
        expected = ", ".join(dict.fromkeys((*SIMILARITY, *_GRADED)))
        raise ValueError(f"similarity task {name!r}: expected one of {expected}.")
    task, root = _SIMILARITY[name], paths.data_dir(data_dir)
    split = _read_split(name, task.validation, task, root)
    title, notes = _checked_rows(name, task, [split])
    return SimilarityTask(name, title, _shuffled(split), "; ".join(notes))


def load_similarity_tasks(
    chosen: str | list[str] = "sts", *, data_dir=None
) -> list[SimilarityTask]:
    """Several tasks by name; `"sts"` stands for all of `SIMILARITY`."""
    every = [task for n in names("tasks", chosen) for task in (SIMILARITY if n == "sts" else [n])]
    if not every:
        raise ValueError(f"tasks is empty: expected some of sts, {', '.join(SIMILARITY)}.")
    return [load_similarity_task(name, data_dir) for name in dict.fromkeys(every)]


def _checked_rows(name: str, task: _Definition, splits: list[Split]) -> tuple[str, list[str]]:
    """Title and notes for every table and figure: whether these are the official splits."""
    rows = tuple(map(len, splits))
    if rows == task.rows:
        return task.title, []
    part = _KNOWN_PARTS.get((name, *rows))
    here, official = (" / ".join(f"{n:,}" for n in numbers) for numbers in (rows, task.rows))
    name = "split" if len(rows) == 1 else "splits"
    note = f"stand-in, not the official {name}: {here} rows instead of {official}"
    note += f", {part}" if part else "; labels may differ too"
    return f"{task.title} ({part or 'stand-in'})", [note]


def load_tasks(names: str | list[str] = "auto", *, corpus: str = "", data_dir=None) -> list[Task]:
    """Several tasks, as `task_names` takes them."""
    return [load_task(name, data_dir) for name in task_names(names, corpus)]


def task_names(chosen: str | list[str] = "auto", corpus: str = "") -> list[str]:
    """`"glue"`, `"embedded"`, names, or `"auto"`: the corpus's tasks. Errors name the task."""
    families = {"glue": GLUE, "embedded": EMBEDDED}
    families["auto"] = EMBEDDED if corpus == "docstrings" else GLUE
    every = [task for name in names("tasks", chosen) for task in families.get(name, [name])]
    if not every:
        raise ValueError(
            f"tasks is empty: expected some of {', '.join((*families, *_DEFINITIONS))}."
        )
    for name in every:
        _definition(name)
    return list(dict.fromkeys(every))


def _definition(name: str) -> _Definition:
    if name not in _DEFINITIONS:
        raise ValueError(f"task {name!r}: expected one of {', '.join((*GLUE, *EMBEDDED))}.")
    return _DEFINITIONS[name]


def _read_split(
    name: str, part: str, task: _Definition, root: Path | None, folds: int = 1
) -> Split:
    """One split of a GLUE or STS task; `folds` of a probe that must be able to learn from it."""
    folders = [root / task.family / name, root / name] if root else []
    if folder := next(filter(Path.is_dir, folders), None):
        files = (folder / f"{part}.parquet", folder / f"{part}.jsonl")
        if not (place := next(filter(Path.is_file, files), None)):
            raise SourceError(f"{folder}: no {part}.parquet (or .jsonl) in this folder.")
        rows = list(read_rows(place, task.columns, (task.label,)))
    else:
        tried = [str(folder) for folder in folders] or ["PREDRECON_DATA (not set)"]
        fallback = f"the tasks {', '.join(EMBEDDED)}"
        repository = task.hub or ("nyu-mll/glue", name)
        try:
            split = hub.load_split(*repository, part, tried=tried, fallback=fallback)
        except SourceError as error:
            raise MissingLabelsError(
                f"No labels: {task.title} is neither on this machine nor available from the hub; "
                f"tasks 'embedded' need no download.\n{error}"
            ) from error
        place, rows = split.place, list(split.read_rows(task.columns, (task.label,)))
    place = show(place)
    labels = _labels([row[task.label] for row in rows], task, place, folds)
    texts = [[row[column] for row in rows] for column in task.columns]
    for column, values in zip(task.columns, texts, strict=True):
        if not any(map(str.strip, values)):
            raise SourceError(f"{place}: column {column!r} holds no text in any row.")
    first, *second = texts
    return Split(first, second[0] if second else None, labels)


def _labels(values: list, task: _Definition, place: str, folds: int) -> np.ndarray:
    """`[N]` integers for classes, grades from 0 to 5 otherwise."""
    classes, column = task.classes, f"column {task.label!r}"
    named = {name: n for names in (classes, task.hub_classes) for n, name in enumerate(names)}
    labels = np.array([_number(value, named) for value in values])
    highest = len(classes) - 1 if classes else 5
    valid = (
        (labels >= 0) & (labels <= highest) & (labels == (labels.round() if classes else labels))
    )
    if not valid.all():
        row = int(np.argmin(valid))
        raise SourceError(
            f"{place}: {column} holds {reprlib.repr(values[row])} in row {row}, expected "
            f"{'integers ' if classes else ''}0 to {highest}{', '.join(['', *named])} (a test "
            "split has no labels; leave rows of -1 out)."
        )
    if not classes and labels.max() <= 1:
        raise SourceError(
            f"{place}: {column} holds no grade above 1, expected 0 to 5. Multiply grades "
            "from 0 to 1 by 5."
        )
    counts = np.sort(np.unique(labels, return_counts=True)[1])[::-1]
    if len(counts) < 2:
        raise SourceError(
            f"{place}: {column} holds {values[0]!r} in all of its {len(values):,} rows: "
            "nothing to tell apart."
        )
    if len(values) < 2 * folds or (classes and (counts[0] < folds or counts[1] < 2)):
        raise SourceError(
            f"{place}: {len(values)} rows, by label {', '.join(map(str, counts))}, are too few for "
            f"a probe of {folds} folds: give {2 * folds} rows or more"
            + (f", {folds} of one class and 2 of another." if classes else ".")
        )
    return labels.astype(np.int64) if classes else labels


def _number(value, named: dict[str, int]) -> float:
    """A label as a number; NaN if it is none."""
    if isinstance(value, str):
        value = named.get(value.strip().lower(), value)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _in_order(groups: np.ndarray) -> bool:
    """Whether rows are sorted by label: all of them, or the first 500 or 2,000.

    They are if the label changes less than a tenth as often as in random order.
    """
    changes = 1 - np.sum((np.unique(groups, return_counts=True)[1] / len(groups)) ** 2)
    starts = (groups[:n] for n in (500, 2000, len(groups)))
    return any((start[1:] != start[:-1]).mean() < changes / 10 for start in starts)


def _shuffled(split: Split) -> Split:
    order = numpy_generator(0, "rows in order of their label").permutation(len(split))
    first, *second = (
        [texts[row] for row in order] for texts in (split.first, split.second) if texts is not None
    )
    return Split(first, second[0] if second else None, split.labels[order])
