"""What becomes of an encoder while it trains: its snapshots measured, one tidy table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from transformers import AutoModel

from predrecon.audit.encoders import Model
from predrecon.audit.geometry import measure
from predrecon.audit.grid import Cell
from predrecon.data.progress import Progress
from predrecon.data.tasks import Task
from predrecon.objectives import lambda_before, total_steps
from predrecon.training.run_folder import Run, quiet_transformers

WATCHED = ("uniformity", "effective_rank", "semantic_probe", "token_probe")


def trajectories(
    runs: dict[Cell, Run], task: Task, tokenizer, *, pooling: str = "mean", seed: int = 0
) -> pd.DataFrame:
    """Every snapshot of every run, and the encoder before its first step.

    Args:
        runs: of `grid.found`.
        task: whose validation split is embedded.
        seed: of the probes and the bootstrap.

    Returns:
        Columns `task, pooling, condition, title, seed, step, tokens, flops, metric, value`. `task`
        is its title. Metrics: `WATCHED`, `validation_mlm` and `below_unigram`, the nats by which it
        is lower than what word frequencies alone reach: how far the run has left that plateau.

    Raises:
        ValueError: a run that kept no snapshots.
    """
    rows = []
    places = [(cell, run, folder) for cell, run in runs.items() for folder in _places(cell, run)]
    with Progress("trajectories", len(places), "snapshots") as progress:
        for number, (cell, run, folder) in enumerate(places):
            progress.update(number, f"{cell.title}, seed {cell.seed}")
            facts = {"task": task.title, "pooling": pooling, "condition": cell.condition}
            facts |= {"title": cell.title, "seed": cell.seed}
            rows += [facts | row for row in _row(run, folder, task, tokenizer, pooling, seed)]
        progress.update(len(places))
    return pd.DataFrame(rows)


def lambdas(runs: dict[Cell, Run]) -> pd.DataFrame:
    """lambda(t) of every hybrid run beside sigma(sum of its learning rates), by logged step.

    Returns:
        Columns `condition, title, seed, step, lam, predicted`.
    """
    parts = []
    for cell, run in runs.items():
        if cell.recipe.arm == "hybrid":
            history = run.history
            predicted = lambda_before(cell.recipe, run.metrics["steps"], history["step"])
            facts = {"condition": cell.condition, "title": cell.title, "seed": cell.seed}
            told = {"step": history["step"], "lam": history["lam"], "predicted": predicted}
            parts.append(pd.DataFrame(facts | told))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _places(cell: Cell, run: Run) -> list:
    if not run.snapshots:
        raise ValueError(
            f"{run.folder.name} ({cell.title}) kept no snapshots: train it with snapshots=8."
        )
    return [None, *run.snapshots]


def _row(run: Run, folder, task: Task, tokenizer, pooling: str, seed: int) -> list[dict]:
    facts, values = {"step": 0, "tokens": 0, "flops": 0.0}, {}
    if folder is None:
        encoder = run.untrained_encoder()
    else:
        encoder, told = _encoder(folder), _told(folder)
        facts = {name: told[name] for name in facts}
        values["validation_mlm"] = told["validation_mlm"]
        values["below_unigram"] = told["validation_unigram"] - told["validation_mlm"]
    model = Model("snapshot", encoder, tokenizer)
    found = measure(model, task, poolings=(pooling,), seed=seed)
    values |= {row["metric"]: row["value"] for row in found.rows if row["metric"] in WATCHED}
    return [facts | {"metric": m, "value": float(np.float64(v))} for m, v in values.items()]


def along(folder: Path, task: Task | None = None, tokenizer=None) -> tuple[pd.DataFrame, str]:
    """The history of a run that may still go on, for pictures.

    Args:
        folder: of the run.
        task, tokenizer: measure the run's snapshots on the task's validation split (first 500
            texts, mean pooling), which are remembered.

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
    if recipe.arm == "hybrid":
        history["predicted"] = _predicted(run, recipe, history)
    if task is not None:
        history = pd.concat([history, _on_the_way(run, task, tokenizer)], ignore_index=True)
        history = history.sort_values("step", kind="stable", ignore_index=True)
    return history, recipe.arm


def _predicted(run: Run, recipe, history: pd.DataFrame) -> np.ndarray | float:
    """sigma(sum lr) at the logged steps; a schedule's length that nobody wrote is read off lr."""
    last = history.iloc[-1]
    total = recipe.max_steps
    if (run.folder / "metrics.json").is_file():
        total = run.metrics["steps"]
    total = total or total_steps(recipe, int(last["step"]), float(last["lr"]))
    return np.nan if total is None else lambda_before(recipe, total, history["step"])


def _on_the_way(run: Run, task: Task, tokenizer) -> pd.DataFrame:
    """One row a snapshot: `step, tokens, flops, seconds, uniformity, effective_rank`."""
    history, rows = run.history, []
    for folder in run.snapshots:
        if (folder / "metrics.json").is_file():
            told = _told(folder)
            row = {name: told[name] for name in ("step", "tokens", "flops")}
            clock = np.r_[0, history["step"]], np.r_[0, history["seconds"]]
            row["seconds"] = float(np.interp(row["step"], *clock))
            rows.append(row | _shape(folder, task, tokenizer))
    return pd.DataFrame(rows)


def _encoder(snapshot: Path):
    with quiet_transformers():
        return AutoModel.from_pretrained(snapshot).eval()


def _told(snapshot: Path) -> dict:
    """Step, tokens, operations and held-out losses of a snapshot."""
    return json.loads((snapshot / "metrics.json").read_text(encoding="utf-8"))


_SHAPES: dict[tuple, dict] = {}  # of snapshots, which do not change


def _shape(folder: Path, task: Task, tokenizer) -> dict[str, float]:
    written = (folder / "metrics.json").stat().st_mtime_ns
    key = folder, written, task.name, len(task.validation), len(tokenizer)
    if key not in _SHAPES:
        model = Model("snapshot", _encoder(folder), tokenizer)
        found = measure(model, task, poolings=("mean",), max_samples=500, probed=False)
        values = {row["metric"]: row["value"] for row in found.rows}
        _SHAPES[key] = {m: values[m] for m in ("uniformity", "effective_rank")}
    return _SHAPES[key]
