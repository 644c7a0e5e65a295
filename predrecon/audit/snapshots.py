"""What becomes of an encoder while it trains: its snapshots measured, one tidy table."""

from pathlib import Path

import numpy as np
import pandas as pd

from predrecon.audit.encoders import Model
from predrecon.audit.geometry import measure
from predrecon.audit.grid import Cell
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
        is its title. Metrics: `METRICS`, `validation_mlm` and `below_unigram`, the nats by which it
        is lower than what word frequencies alone reach: how far the run has left that plateau.

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
    """The history of a run, which may still be in training, for pictures.

    With a `task`, snapshots are measured, each once, on the first 500 texts of its validation split
    under mean pooling.

    Returns:
        `history.csv` with `predicted`, lambda from the learning rates alone, and, measured at
        snapshots only, `uniformity` and `effective_rank`; and the arm.

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


_MEASURED: dict[tuple, dict] = {}  # of snapshots, which do not change


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
