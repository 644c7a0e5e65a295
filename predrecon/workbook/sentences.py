"""What the geometry shows, in sentences built from its numbers (notebooks 05, 05b and 05c).

Words follow the sign of a number and whether its interval contains 0, so a sentence stays true
whatever the numbers are.
"""

import numpy as np
import pandas as pd

from predrecon.audit.geometry import Geometry
from predrecon.audit.poolers import FITTED, LARGE
from predrecon.audit.seeds import headline
from predrecon.workbook.figures.style import name
from predrecon.workbook.labels import decimal
from predrecon.workbook.tables import HEADLINE, margins

_WORDS = {  # of a difference: below 0, above 0
    "uniformity": ("more uniform", "less uniform"),
    "effective_rank": ("poorer", "richer"),
    "probe_gap": ("more lexical", "less lexical"),
    "alignment": ("tighter in its classes", "looser in its classes"),
}


def of_gaps(gaps: pd.DataFrame, metrics: tuple[str, ...] = HEADLINE) -> list[str]:
    """One sentence per metric of `seeds.headline`: how the hybrid differs under which poolings."""
    sentences = []
    for metric in metrics:
        rows, words = gaps[gaps["metric"] == metric], (*_WORDS[metric], "no clear difference")
        clear = np.sign(rows["value"]).where(rows["low"] * rows["high"] > 0, 0)
        parts = [
            f"{word} under {_poolings(rows[clear == side])}"
            for word, side in zip(words, (-1, 1, 0), strict=True)
            if (clear == side).any()
        ]
        sentences.append(
            f"**{metric.replace('_', ' ').capitalize()}.** {_capital('; '.join(parts))}."
        )
    return [
        *sentences,
        f"Hybrid minus MLM-only, means of tasks; ± is half a 95 % interval over {_basis(gaps)}.",
    ]


def of_claims(gaps: pd.DataFrame) -> str:
    """What `seeds.headline` says of the paper's three claims, in one sentence."""
    claims = {  # `{words: (metric, poolings, sign of the claim)}`
        "more uniform": ("uniformity", ("mean", "max", "attention"), -1),
        "richer under max pooling": ("effective_rank", ("max",), 1),
        "less lexical under attention pooling": ("probe_gap", ("attention",), 1),
    }
    parts = []
    for words, (metric, poolings, sign) in claims.items():
        rows = gaps[(gaps["metric"] == metric) & gaps["pooling"].isin(poolings)]
        side = sign * np.sign(rows["value"]).where(rows["low"] * rows["high"] > 0, 0)
        yes, no = rows.loc[side > 0, "pooling"], rows.loc[side < 0, "pooling"]
        answer = f"only under {', '.join(yes)}" if len(yes) else "not clear"
        answer = "yes" if len(yes) == len(rows) else answer
        if len(no):
            answer = (
                f"{answer}, the opposite under {', '.join(no)}" if len(yes) else "no, the opposite"
            )
        parts.append(f"{words}: {answer}")
    return f"**The paper's claims.** {_capital('; '.join(parts))}."


def of_poolers(ratios: pd.DataFrame) -> list[str]:
    """What `poolers.ratios` say about the published "5-10 x"."""
    own = ratios[ratios["basis"] == "own draw"]
    mean, pairs = ratios.loc[ratios["pooler"] == "mean", "ratio"], own["ratio"]
    by_run, large = own.groupby(["title", "seed"])["ratio"], int((pairs >= LARGE).sum())
    factor = (by_run.max() / by_run.min()).median()
    keeps = 1 + (mean.median() - 1) / 2  # half of the difference under mean pooling
    words = "do not reach" if max(mean.max(), pairs.max()) < LARGE else "can reach"
    return [
        f"**Mean pooling.** The hybrid's uniformity is {_range(mean)} times that of MLM-only, by "
        f"task and seed (median {mean.median():.2f}).",
        f"**Random attention poolers.** {_range(pairs)} times (median {pairs.median():.2f}); "
        f"{LARGE} is reached by {large or 'none'} of {len(pairs):,} pairs of draws.",
        f"**The draw alone** moves the ratio of one pair of encoders by a factor of {factor:.2f} "
        "(median over tasks and seeds of highest over lowest).",
        *[
            f"**{pooler.capitalize()}.** {_range(rows)} times, by task and seed (median "
            f"{rows.median():.2f}): a pooler that has learned the task "
            + ("keeps the difference." if rows.median() > keeps else "leaves little of it.")
            + (" Below 1 MLM-only is the more uniform." if rows.min() < 1 else "")
            for pooler, rows in ratios.groupby("pooler", sort=False)["ratio"]
            if pooler in FITTED
        ],
        f"**So how much is the encoder?** A factor of {mean.median():.2f}, the median of tasks "
        f"and seeds under mean pooling, where nothing is drawn (the largest is {mean.max():.2f}). "
        f"The luckiest pair of draws gives {pairs.max():.2f}: encoder and draw {words} {LARGE}.",
    ]


def of_lengths(control: pd.DataFrame) -> list[str]:
    """What `length.length_control` says about the arms' difference, and about length alone."""
    sentences, metrics = [], ("uniformity", "equal_length")
    if {"hybrid", "mlm"} <= set(control["model"]):
        gaps = headline(Geometry(control, {}, {}), metrics=metrics)
        every, equal = margins(gaps)
        sentences = [
            f"**Hybrid minus MLM-only.** {every} over all pairs of texts, {equal} over pairs of "
            f"equal length (mean of tasks; ± is half a 95 % interval over {_basis(gaps)})."
        ]
    shares = control.pivot_table("value", "metric", "model", sort=False)
    every = shares.loc["uniformity"]
    if every.get("untrained", 0) < every.drop("untrained", errors="ignore").min():
        cells = ", ".join(f"{decimal(value)} ({name(m)})" for m, value in every.items())
        sentences.append(
            f"**Uniformity is not quality.** Untrained encoders are the most uniform: {cells}, "
            "means of tasks and seeds. Training lowers the spread."
        )
    explained = [f"{share:.1%} ({name(m)})" for m, share in shares.loc["explained"].items()]
    return [
        *sentences,
        f"**Length alone** explains {', '.join(explained)} of the variance of directions; as many "
        f"random groups explain {shares.loc['by_chance'].mean():.1%}.",
    ]


def of_spectra(spectra: pd.DataFrame) -> list[str]:
    """How many components hold 90 % of the variance; from `geometry.seed_spectra`, one pooling."""
    keys, sentences = ["task", "model", "seed"], []
    needed = (spectra["cumulative"] < 0.9).groupby([spectra[k] for k in keys], sort=False).sum() + 1
    first = spectra[spectra["rank"] == 1].groupby("model", sort=False)["share"].mean()
    for model, counts in needed.groupby("model", sort=False):
        sentences.append(
            f"**{_capital(name(model))}.** 90 % of the variance is in {counts.min()} to "
            f"{counts.max()} of {spectra['rank'].max()} components, by task and seed; the first "
            f"alone holds {first[model]:.0%}."
        )
    return sentences


def of_classes(means: pd.DataFrame, pooling: str = "mean") -> list[str]:
    """Whether alignment and uniformity move together, and whether classes are separated.

    From `tables.geometry_with_published`; published models are left out.
    """
    ours = means[(means["pooling"] == pooling) & ~means["model"].str.startswith("published")]
    wide = ours.pivot_table("value", ["task", "model"], "metric")
    ratio, sentences = wide["intra_inter_ratio"], []
    if len(wide) > 2:
        rho = wide["alignment"].corr(wide["uniformity"], method="spearman")
        together = "what spreads out spreads within classes too" if rho < 0 else "not together"
        sentences = [
            f"**Alignment and uniformity** of {len(wide)} pairs of task and encoder: rank "
            f"correlation {decimal(rho)}; {together}."
        ]
    by_arm = [f"{_range(rows, 3)} ({name(m)})" for m, rows in ratio.groupby("model", sort=False)]
    if {"hybrid", "mlm"} <= set(ratio.index.unique("model")):
        gap = (ratio.xs("hybrid", level="model") - ratio.xs("mlm", level="model")).mean()
        by_arm.append(f"hybrid minus MLM-only {f'{gap:+.3f}'.replace('-', '−')} (mean of tasks)")
    return [
        *sentences,
        f"**Classes.** Distance within classes over distance between, by task: {', '.join(by_arm)};"
        " 1 is no separation at all.",
    ]


def _poolings(rows: pd.DataFrame) -> str:
    texts = zip(rows["pooling"], margins(rows), strict=True)
    return ", ".join(f"{pooling} ({text})" for pooling, text in texts)


def _basis(gaps: pd.DataFrame) -> str:
    seeds = int(gaps["seeds"].max())
    return f"{seeds} seeds" if seeds > 1 else "the texts of one seed, not over seeds"


def _range(values: pd.Series, digits: int = 2) -> str:
    return f"{values.min():.{digits}f} to {values.max():.{digits}f}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
