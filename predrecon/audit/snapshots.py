"""How an encoder changes during training: its snapshots measured, as one tidy table."""

from pathlib import Path

import numpy as np
import pandas as pd

from predrecon.audit.encoders import Model
from predrecon.audit.geometry import measure
from predrecon.audit.grid import Cell
from predrecon.audit.statistics import student_interval
from predrecon.data.progress import Progress
from predrecon.data.tasks import Task
from predrecon.objectives import lambda_before, total_steps
from predrecon.training.heldout import below_unigram
from predrecon.training.run_folder import Run

METRICS = ("uniformity", "effective_rank", "semantic_probe", "token_probe")


def trajectories(runs: dict[Cell, Run], task: Task, tokenizer) -> pd.DataFrame:
    """Every snapshot of every run under mean pooling, and the encoder before its first step.

    Returns:
        Columns `task, pooling, condition, title, seed, step, tokens, flops, metric, value`. `task`
        is its title. Metrics: `METRICS`, `validation_mlm` and `below_unigram`, the nats by which
        that loss is below word frequencies: how far the run has left the plateau.

    Raises:
        ValueError: a run that kept no snapshots.
    """
    for cell, run in runs.items():
        if not run.snapshots:
            raise ValueError(
                f"{run.folder.name} ({cell.title}) kept no snapshots: train it with snapshots=8."
            )
    stages = [(c, run, folder) for c, run in runs.items() for folder in [None, *run.snapshots]]
    rows = []
    with Progress("trajectories", len(stages), "snapshots") as progress:
        for number, (cell, run, folder) in enumerate(stages):
            progress.update(number, f"{cell.title}, seed {cell.seed}")
            if folder is None:
                encoder, losses = run.untrained_encoder(), {}
                place = {"step": 0, "tokens": 0, "flops": 0.0}
            else:
                snapshot = Run(folder)
                encoder, metrics = snapshot.encoder(), snapshot.metrics
                place = {name: metrics[name] for name in ("step", "tokens", "flops")}
                losses = {"validation_mlm": metrics["validation_mlm"]}
                losses["below_unigram"] = below_unigram(metrics)
            measured = measure(Model(cell.title, encoder, tokenizer), task, poolings=("mean",))
            values = losses | {row["metric"]: row["value"] for row in measured.rows}
            labels = {"task": task.title, "pooling": "mean"} | cell.labels | place
            rows += [
                labels | {"metric": metric, "value": float(value)}
                for metric, value in values.items()
                if metric in (*METRICS, *losses)
            ]
        progress.update(len(stages))
    return pd.DataFrame(rows)


def at_equal_nats(
    table: pd.DataFrame, one: str = "hybrid", other: str = "mlm", *, levels: int = 3
) -> pd.DataFrame:
    """`one - other` where both have learned equally much: snapshots at the same held-out loss.

    The levels of a seed divide the range that both its runs pass into equal parts: from word
    frequencies, or the later of the two first snapshots, to the lower of the two last. A metric at
    a level is interpolated in nats between the two snapshots where the run first reaches it.

    Args:
        table: of `trajectories`; several tasks are averaged. one, other: conditions of the grid.

    Returns:
        Columns `level, metric, value, low, high, seeds` for those of `METRICS` that `table` holds.
        `level` is in nats below word frequencies, the mean of seeds; `low` and `high` are Student's
        interval over seeds, infinite for one. Seeds whose runs share no level are left out; without
        any seed there are no rows.
    """
    columns = ["level", "metric", "value", "low", "high", "seeds"]
    if table.empty:
        return pd.DataFrame(columns=columns)
    learned = table.pivot_table("value", ["seed", "condition", "step"], "metric")
    learned = learned.dropna(subset=["below_unigram"])
    metrics, gaps, places = [metric for metric in METRICS if metric in learned], [], []
    for seed in learned.index.unique("seed"):
        runs = learned.loc[seed]
        if not {one, other} <= set(runs.index.unique("condition")):
            continue
        sides = [
            runs.loc[condition, ["below_unigram", *metrics]].to_numpy()
            for condition in (one, other)
        ]
        first, last = (np.array([side[end, 0] for side in sides]) for end in (0, -1))
        start, end = max(0.0, first.max()), last.min()
        if start < end:
            places.append(np.linspace(start, end, levels + 1)[1:])
            a, b = (_at(places[-1], side) for side in sides)
            gaps.append(a - b)
    rows = []
    for number, level in enumerate(np.mean(places, axis=0) if places else ()):
        for k, metric in enumerate(metrics):
            interval = student_interval([gap[number, k] for gap in gaps])
            rows.append({"level": level, "metric": metric} | interval.bounds | {"seeds": len(gaps)})
    return pd.DataFrame(rows, columns=columns)


def _at(levels: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Metrics `[levels, M]` where a run `[snapshots, 1 + M]`, nats first, reaches `levels` [nats].

    The first snapshot must be below all levels.
    """
    after = np.array([np.argmax(run[:, 0] >= level) for level in levels])
    before, after = run[after - 1], run[after]
    share = (levels - before[:, 0]) / (after[:, 0] - before[:, 0])
    return before[:, 1:] + share[:, None] * (after - before)[:, 1:]


def lambdas(runs: dict[Cell, Run]) -> pd.DataFrame:
    """lambda(t) of every hybrid run, and `predicted` sigma(sum of learning rates), by step."""
    parts = []
    for cell, run in runs.items():
        if cell.recipe.arm == "hybrid":
            logged = run.history[["step", "lam"]]
            predicted = lambda_before(cell.recipe, run.metrics["steps"], logged["step"])
            labels = pd.DataFrame(cell.labels, index=logged.index)
            parts.append(labels.join(logged).assign(predicted=predicted))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def along(folder: Path, task: Task | None = None, tokenizer=None) -> tuple[pd.DataFrame, str]:
    """The history of a run, which may still be training, for figures.

    With a `task`, snapshots are measured, each once, on the first 500 texts of its validation split
    under mean pooling.

    Returns:
        `history.csv` with `predicted`, lambda from the learning rates alone, and, at snapshots
        only, `uniformity` and `effective_rank`; and the arm.

    Raises:
        ValueError: a folder without a logged step.
    """
    run = Run(folder)
    try:
        history, recipe = run.history, run.recipe
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{folder.name}: no run that has logged a step ({error}).") from None
    snapshots = [Run(place) for place in run.snapshots if task is not None]
    measured = pd.DataFrame([_shape(s, history, task, tokenizer) for s in snapshots if s.finished])
    if recipe.arm == "hybrid":
        last = history.iloc[-1]
        total = run.metrics["steps"] if run.finished else recipe.max_steps
        total = total or total_steps(recipe, int(last["step"]), float(last["lr"]))
        unknown = total is None  # the warm-up is the same for every length
        history["predicted"] = np.nan if unknown else lambda_before(recipe, total, history["step"])
    if task is not None:
        history = pd.concat([history, measured], ignore_index=True)
        history = history.sort_values("step", kind="stable", ignore_index=True)
    return history, recipe.arm


_MEASURED: dict[tuple, dict] = {}  # measurements of snapshots, which do not change


def _shape(snapshot: Run, history: pd.DataFrame, task: Task, tokenizer) -> dict[str, float]:
    """`step, tokens, flops, seconds, uniformity, effective_rank` of a snapshot."""
    written = (snapshot.folder / "metrics.json").stat().st_mtime_ns
    key = snapshot.folder, written, task.name, len(task.validation), len(tokenizer)
    if key not in _MEASURED:
        model = Model(snapshot.folder.name, snapshot.encoder(), tokenizer)
        measured = measure(model, task, poolings=("mean",), max_samples=500, probed=False)
        values = {row["metric"]: row["value"] for row in measured.rows}
        _MEASURED[key] = {m: values[m] for m in ("uniformity", "effective_rank")}
    metrics = snapshot.metrics
    row = {name: metrics[name] for name in ("step", "tokens", "flops")}
    clock = np.r_[0, history["step"]], np.r_[0, history["seconds"]]
    return row | {"seconds": float(np.interp(row["step"], *clock))} | _MEASURED[key]
