"""From encoders and tasks to tidy tables of geometry (Tables 4-11); linear probes: `probing`.

A tidy table has one row a number; `task`, `pooling`, `model` say whose, `n` and `seeds` how sure.
"""

from dataclasses import asdict

import numpy as np
import pandas as pd

from predrecon import metrics
from predrecon.audit import published
from predrecon.audit.measuring import Model, measure
from predrecon.audit.seeds import Geometry, over_seeds
from predrecon.audit.statistics import around
from predrecon.data.progress import each_pair
from predrecon.data.tasks import Task
from predrecon.pooling import POOLINGS
from predrecon.training.run_folder import BOOKKEEPING, Run

SIX = ("spectral_entropy", "effective_rank", "stable_rank", "alignment", "uniformity", "probe_gap")
"""The paper's six metrics, by its equations; tables also hold `CONVENTIONS` and both probes."""

CONVENTIONS = {
    "spectral_entropy_sigma2": "spectral entropy as in the paper's tables, from sigma squared",
    "alignment_squared": "alignment as Wang & Isola (2020) define it, the mean squared distance",
}
GEOMETRY_SAMPLES = 2000  # of the validation split (paper, Section 4.3)


def models(runs: dict[str, Run | list[Run]], tokenizer, *, untrained: bool = False) -> list[Model]:
    """The runs' encoders, of one or several seeds an arm.

    With `untrained`, also the encoder of every seed before its first step, which the arms share.

    Raises:
        ValueError: runs of different recipes or corpora (but for the arm): what is compared must
            differ in what it is compared for alone. Conditions of the grid are compared by `why`.
    """
    found, first = [], {}
    listed = {name: s if isinstance(s, list) else [s] for name, s in runs.items()}
    _alike([run for several in listed.values() for run in several])
    for name, several in listed.items():
        for run in several:
            seed = run.facts["seed"]
            found.append(Model(name, run.encoder(), tokenizer, seed))
            first.setdefault(seed, run)
    if untrained:
        for seed, run in first.items():
            found.append(Model("untrained", run.untrained_encoder(), tokenizer, seed))
    return found


def _alike(runs: list[Run]):
    """Refuse runs that differ in more than arm, seed and bookkeeping."""
    if not runs:
        return
    left_out = {"arm", "corpus", "tokenizer", *BOOKKEEPING}
    first, *others = [
        {k: v for k, v in asdict(run.recipe).items() if k not in left_out}
        | {"text": run.facts["corpus"]}
        for run in runs
    ]
    for run, other in zip(runs[1:], others, strict=True):
        if apart := [f"{k} ({first[k]} and {v})" for k, v in other.items() if v != first[k]]:
            raise ValueError(
                f"{runs[0].folder.name} and {run.folder.name} are not of one recipe: they differ "
                f"in {', '.join(apart)}."
            )


def geometry(
    compared: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] = POOLINGS,
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> Geometry:
    """All metrics of all tasks, poolings and models, from one pass of each encoder over each task.

    Args:
        compared: encoders, of one or several seeds.
        tasks: labelled tasks; their validation splits are used, pairs as "s1 [SEP] s2".
        max_samples: the first so many samples of a split.
        seed: shuffles the folds of the probes, draws the bootstrap samples.

    Returns:
        `Geometry`; `low` and `high` of its table are a 95 % interval over samples, which
        `uncertainty.around` says how far to trust.
    """
    rows, embeddings, replicates, singular = [], {}, {}, {}
    for task, model in each_pair("geometry", tasks, compared):
        found = measure(model, task, poolings=poolings, max_samples=max_samples, seed=seed)
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        for pooling, z in found.embeddings.items():
            embeddings.setdefault((task.name, pooling, model.name), z)
            singular[task.name, pooling, model.name, model.seed] = metrics.singular_values(z)
        for row in found.rows:
            spread = found.replicates[row["pooling"], row["metric"]]
            interval = around(row["value"], spread, row["n"])
            rows.append(facts | row | interval.bounds | {"note": task.note})
            key = task.name, row["pooling"], model.name, model.seed, row["metric"]
            replicates[key] = spread
    return Geometry(pd.DataFrame(rows), embeddings, replicates, singular)


def geometry_table(
    table: pd.DataFrame, metrics_shown: tuple[str, ...] = SIX, *, digits: int = 3
) -> pd.DataFrame:
    """`geometry`'s table with one line a task and pooling, columns metric x model, value ± margin.

    The margin is half of the 95 % interval: over seeds, or over samples where there is one seed.
    Without bounds (a handful of samples, `uncertainty.around`) the cell says so.
    """
    means = over_seeds(table[table["metric"].isin(metrics_shown)])
    margin = (means["high"] - means["low"]) / 2
    told = [f" ± {m:.{digits}f}" if np.isfinite(m) else ", no interval" for m in margin]
    cells = [f"{v:.{digits}f}{m}" for v, m in zip(means["value"], told, strict=True)]
    wide = means.assign(cell=cells).pivot(
        index=["title", "pooling"], columns=["metric", "model"], values="cell"
    )
    titles, poolings = (list(dict.fromkeys(means[c])) for c in ("title", "pooling"))
    rows = pd.MultiIndex.from_product([titles, poolings], names=wide.index.names)
    return wide.reindex(rows).reindex(columns=list(metrics_shown), level=0)


def published_geometry() -> pd.DataFrame:
    """The published geometry under the names of `geometry`'s table (probe gap included)."""
    told = published.geometry().replace(
        {
            "metric": {
                "alignment_fourth_power": "alignment",
                "semantic_probe_score": "semantic_probe",
                "token_probe_accuracy": "token_probe",
            }
        }
    )
    wide = told.pivot(index=["task", "pooling", "model"], columns="metric", values="value")
    gap = (wide["semantic_probe"] - wide["token_probe"]).rename("value").reset_index()
    return pd.concat([told, gap.assign(metric="probe_gap")], ignore_index=True)


def published_spectra() -> pd.DataFrame:
    """The published spectra as `seed_spectra` gives ours: 50 components, as shares of all.

    Of the rest only the sum is known, through the stable rank: sum(sigma^2) = srank sigma_1^2. So
    shares are exact, and shapes compare whatever the scale of the embeddings.
    """
    told = published.singular_values()
    rank = published.geometry().query("metric == 'stable_rank'").rename(columns={"value": "srank"})
    keys = ["task", "pooling", "model"]
    told = told.merge(rank[[*keys, "srank"]], on=keys).sort_values([*keys, "rank"])
    largest = told.groupby(keys)["singular_value"].transform("max")
    share = (told["singular_value"] / largest) ** 2 / told["srank"]
    told = told.assign(share=share, model="published " + told["model"])
    told["cumulative"] = told.groupby(keys)["share"].cumsum()
    return told[["task", "pooling", "model", "rank", "share", "cumulative"]]


def seed_spectra(found: Geometry) -> pd.DataFrame:
    """Eigenspectra of every seed: columns `task, pooling, model, seed, rank, share, cumulative`.

    `share` is the explained variance sigma_i^2 / sum(sigma^2) of component `rank` (from 1), and
    `cumulative` its running sum.
    """
    keys, parts = ("task", "pooling", "model", "seed"), []
    for key, singular_values in found.spectra.items():
        share = singular_values**2 / (singular_values**2).sum()
        facts = dict(zip(keys, key, strict=True)) | {"rank": np.arange(1, len(share) + 1)}
        parts.append(pd.DataFrame({**facts, "share": share, "cumulative": share.cumsum()}))
    return pd.concat(parts, ignore_index=True)
