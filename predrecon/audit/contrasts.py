"""Which suspect makes the difference: the grid's runs at their end, contrasted by seed.

All numbers are under mean pooling. A contrast is paired by seed, since the runs of one seed share
initial weights, batches and masks.
"""

from dataclasses import replace

import pandas as pd

from predrecon.audit import encoders, length
from predrecon.audit.encoders import Model
from predrecon.audit.geometry import SIX, measure, measure_all
from predrecon.audit.grid import CONDITIONS, Cell
from predrecon.audit.seeds import mean_of_tasks
from predrecon.audit.statistics import (
    Interval,
    bootstrap_interval,
    holm,
    seeds_text,
    sign_flip_p,
    student_interval,
)
from predrecon.data.progress import Progress
from predrecon.data.tasks import Task
from predrecon.training.run_folder import Run

SHOWN = {
    "uniformity": "uniformity (lower is more uniform)",
    "equal_length": "uniformity, texts of equal length",
    "effective_rank": "effective rank (higher is richer)",
    "semantic_probe": "semantic probe (higher is better)",
    "token_probe": "token probe (lower is less lexical)",
    "below_unigram": "nats below word frequencies (higher is better)",
}
CONTRASTS = {
    "objective": ("hybrid", "mlm"),
    "objective, tokens × √D": ("hybrid-sqrt", "mlm-sqrt"),
    "objective, equal FLOPs": ("hybrid", "mlm-flops"),
    "token scale, hybrid": ("hybrid-sqrt", "hybrid"),
    "token scale, MLM-only": ("mlm-sqrt", "mlm"),
    "more FLOPs, MLM-only": ("mlm-flops", "mlm"),
    "λ = 0.25 for learned": ("hybrid-lam25", "hybrid"),
    "λ = 0.5 for learned": ("hybrid-lam50", "hybrid"),
    "λ = 0.75 for learned": ("hybrid-lam75", "hybrid"),
    "λ's rate / 10": ("hybrid-slow", "hybrid"),
}
"""`{suspect: (with it, without it)}`, conditions of the grid."""

ARMS = ("hybrid", "mlm")
SCALES = {"": "untrained", "-sqrt": "untrained, tokens × √D"}
"""`{suffix of a condition: what its encoder before the first step is called}`."""


def inventory(asked: list[Cell], found: dict[Cell, Run]) -> pd.DataFrame:
    """What is on disk: seeds of each condition, and how far they have left word frequencies."""
    rows = {}
    for cell in asked:
        row = rows.setdefault(cell.title, {"asked": 0, "trained": 0, "nats": []})
        row["asked"] += 1
        if cell in found:
            told = found[cell].metrics
            row["trained"] += 1
            row["nats"].append(told["validation_unigram"] - told["validation_mlm"])
            row |= {"steps": f"{told['steps']:,}", "M tokens": f"{told['tokens'] / 1e6:.1f}"}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("condition")
    spans = table["nats"].map(lambda v: f"{min(v):.3f} to {max(v):.3f}" if v else "not trained")
    table = table.drop(columns="nats").assign(**{"nats below word frequencies": spans})
    return table.fillna("–")


def costs(found: dict[Cell, Run]) -> pd.DataFrame:
    """Operations and time of each condition, mean of its seeds, and beside MLM-only's."""
    rows = [
        {
            "condition": cell.title,
            "steps": run.metrics["steps"],
            "TFLOP": run.metrics["flops"] / 1e12,
            "MFLOP a token": run.metrics["flops"] / run.metrics["tokens"] / 1e6,
            "seconds": run.metrics["seconds"],
            "base": cell.condition == "mlm",
        }
        for cell, run in found.items()
    ]
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    means = table.groupby("condition", sort=False).mean(numeric_only=True)
    base = means[means["base"] == 1]
    if len(base):
        means["times MLM-only"] = means["TFLOP"] / base["TFLOP"].iloc[0]
    whole = {name: means[name].round().astype(int) for name in ("steps", "seconds")}
    return means.drop(columns="base").round(2).assign(**whole)


def endpoints(
    found: dict[Cell, Run], tasks: list[Task], tokenizer, *, max_samples: int = 2000, seed: int = 0
) -> pd.DataFrame:
    """Every trained run on every task.

    Returns:
        Columns `condition, title, seed, task, metric, value, low, high` for the metrics of `SHOWN`,
        with an interval over samples; `below_unigram` has no task and no interval.
    """
    rows = []
    with Progress("grid", len(found), "runs") as progress:
        for number, (cell, run) in enumerate(found.items()):
            progress.update(number, f"{cell.title}, seed {cell.seed}")
            facts = {"condition": cell.condition, "title": cell.title, "seed": cell.seed}
            told = run.metrics
            left = told["validation_unigram"] - told["validation_mlm"]
            rows.append(facts | {"task": "", "metric": "below_unigram", "value": left})
            model = Model(cell.condition, run.encoder(), tokenizer, cell.seed)
            for task in tasks:
                values = _values(model, task, max_samples, seed)
                where = facts | {"task": task.name}
                rows += [where | {"metric": m, **told.bounds} for m, told in values.items()]
        progress.update(len(found))
    columns = ["condition", "title", "seed", "task", "metric", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def contrasts(ends: pd.DataFrame) -> pd.DataFrame:
    """`CONTRASTS` whose both sides are there, paired by seed, mean of tasks.

    Returns:
        Columns `contrast, metric, value, low, high, seeds, same_sign, p, p_corrected`: Student's
        interval over seeds (none for one seed), the share of tasks x seeds of one sign, p of sign
        flips of the seeds' means, and Holm's correction for all rows.
    """
    rows = []
    for name, (one, other) in CONTRASTS.items():
        for metric in SHOWN:
            part = ends[(ends["metric"] == metric) & ends["condition"].isin([one, other])]
            wide = part.pivot_table(index=["seed", "task"], columns="condition", values="value")
            if not {one, other} <= set(wide.columns):
                continue
            gaps = (wide[one] - wide[other]).dropna()
            if gaps.empty:
                continue
            by_seed = gaps.groupby("seed").mean()
            interval = student_interval(by_seed)
            row = {"contrast": name, "metric": metric, **interval.bounds, "seeds": interval.n}
            row["same_sign"] = float(max((gaps > 0).mean(), (gaps < 0).mean()))
            rows.append(row | {"p": sign_flip_p(by_seed)})
    table = pd.DataFrame(rows)
    return table.assign(p_corrected=holm(table["p"])) if len(table) else table


def endpoint_table(ends: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """One line a condition: each metric, mean of tasks, with its interval (`mean_of_tasks`)."""
    rows = {}
    for (title, metric), part in ends.groupby(["title", "metric"], sort=False):
        interval, seeds = mean_of_tasks(part)
        rows.setdefault(title, {"seeds": seeds})[metric] = interval.text(digits)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("condition")
    return table.reindex(columns=["seeds", *(m for m in SHOWN if m in table)])


def contrast_table(gaps: pd.DataFrame, *, digits: int = 3) -> pd.DataFrame:
    """One line a contrast, one column a metric; a star where the corrected p is below 0.05.

    Sign flips of three seeds are at 0.25 or above: no star without more seeds.
    """
    rows = {}
    for row in gaps.itertuples():
        interval = Interval(row.value, row.low, row.high, row.seeds)
        star = " *" if row.p_corrected < 0.05 else ""
        rows.setdefault(row.contrast, {"seeds": row.seeds})[row.metric] = (
            _text(interval, digits) + star
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("contrast")


def beside_references(
    found: dict[Cell, Run],
    tasks: list[Task],
    tokenizer,
    *,
    max_samples: int = 2000,
    seed: int = 0,
    digits: int = 3,
) -> pd.DataFrame:
    """The six metrics of both arms, of the untrained encoder, and of MiniLM if it is installed.

    Arms with scaled tokens have an untrained encoder of their own: the scale alone changes it.

    Returns:
        One line a model, mean of tasks with its interval (`mean_of_tasks`), with D, since ranks
        grow with it.
    """
    compared = []
    for scale, title in SCALES.items():
        arms = {name + scale: _of(found, name + scale) for name in ARMS}
        several = encoders.models({k: v for k, v in arms.items() if v}, tokenizer, untrained=True)
        compared += [replace(m, name=title) if m.name == "untrained" else m for m in several]
    compared += encoders.reference_models()
    if not compared or not tasks:
        return pd.DataFrame()
    geometry = measure_all(compared, tasks, poolings=("mean",), max_samples=max_samples, seed=seed)
    shown, cells = [*SIX, "semantic_probe", "token_probe"], {}
    for (name, metric), part in geometry.table.groupby(["model", "metric"], sort=False):
        cells.setdefault(name, {})[metric] = mean_of_tasks(part)[0].text(digits)
    wide = pd.DataFrame.from_dict(cells, orient="index")[shown].rename_axis("model")
    dims = geometry.table.groupby("model")["dim"].first()
    seeds = geometry.table.groupby("model")["seed"].nunique()
    wide.insert(0, "D", dims.reindex(wide.index))
    wide.insert(1, "seeds", seeds.reindex(wide.index))
    return wide.rename(index={k: title for k, (title, _) in CONDITIONS.items()})


def _of(found: dict[Cell, Run], condition: str) -> list[Run]:
    return [run for cell, run in found.items() if cell.condition == condition]


def _values(model: Model, task: Task, max_samples: int, seed: int) -> dict[str, Interval]:
    measured = measure(model, task, poolings=("mean",), max_samples=max_samples, seed=seed)
    told = {
        row["metric"]: bootstrap_interval(
            row["value"], measured.replicates["mean", row["metric"]], row["n"]
        )
        for row in measured.rows
        if row["metric"] in SHOWN
    }
    counts = length.token_counts(model, task.validation.head(max_samples))
    return told | {
        "equal_length": length.uniformity(measured.embeddings["mean"], counts, seed=seed)
    }


def _text(interval: Interval, digits: int) -> str:
    return interval.text(digits) + ("" if interval.n > 1 else f" ({seeds_text(interval.n)})")
