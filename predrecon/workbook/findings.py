"""Findings as sentences built from results: those on disk, or those that come with the code.

`figures/data/<name>/` holds the numbers of runs that need not be repeated: `eight-seeds`,
`wikipedia`, `plateau`, `h100`, `lab`. The words of a sentence follow the sign of a number and
whether its interval contains 0, so the sentence stays true when the numbers change.
"""

import re

import numpy as np
import pandas as pd

from predrecon.audit import contrasts, plateau, published
from predrecon.audit.claims import DIRECTION, DRIVEN, REFUTED, REPRODUCED, UNKNOWN
from predrecon.audit.statistics import MOST_SEEDS, holm, student_interval
from predrecon.data import paths
from predrecon.training.heldout import PLATEAU
from predrecon.workbook.labels import decimal

GROUPS = {  # of claims, by what they measure
    "linear probe": ("linear_probe",),
    "uniformity": ("uniformity", "every_cell"),
    "class distances": ("alignment", "intra_inter_ratio"),
    "spectrum": ("spectral_entropy_sigma2", "effective_rank", "stable_rank"),
    "other probes": ("token_probe", "semantic_probe", "semantic_probe_mcc", "probe_gap"),
    "cost and λ": ("operations", "balance"),
}
_UNIFORM = ("more uniform", "less uniform")
_FOLLOWS = ("The more nats a run has learned, the more uniform it is",
            "The more nats a run has learned, the less uniform it is",
            "Uniformity does not clearly follow the nats")  # fmt: skip
_UNIFORM_THAN = ("more uniform than MLM-only's", "less uniform than MLM-only's")
_STATUS_WORDS = {
    REPRODUCED: "reproduced",
    DIRECTION: "with the right direction only",
    REFUTED: "not reproduced",
    UNKNOWN: "that cannot be decided at this budget",
}
_BOUNDS = ["value", "low", "high"]
_CAN_BE_SIGNIFICANT = 6  # seeds from which sign flips can give p < 0.05
_SMALL = 0.001
_BY_LAMBDA = {  # `{how λ is set: condition}`
    "learned": "hybrid",
    "λ = 0.25": "hybrid-lam25",
    "λ = 0.5": "hybrid-lam50",
    "λ = 0.75": "hybrid-lam75",
    "λ's rate / 10": "hybrid-slow",
}
_CONTROLS = {  # of the objective's effect on uniformity: `{where: (contrast, metric)}`
    "at equal operations": ("objective, equal FLOPs", "uniformity"),
    "between texts of equal length": ("objective", "equal_length"),
    "with padding attended to as in the public code": ("objective", "uniformity_released"),
    "with padding and at equal operations": ("objective, equal FLOPs", "uniformity_released"),
}
_TOKEN_PROBE = ("objective, equal FLOPs", "token_probe")
_RESERVED = "the cause, with a reservation"
_NO_PAIR = "Both arms are needed: no pair of a hybrid and an MLM-only run is here."


def evidence(name: str) -> dict[str, pd.DataFrame]:
    """`{table: numbers}` of `figures/data/<name>/*.csv`, which come with a checkout.

    Raises:
        FileNotFoundError: no such folder, or not a checkout.
    """
    folder = paths.evidence_dir() / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"figures/data/{name}: not here. It comes with a checkout of the project: run the "
            "notebook from one."
        )
    return {file.stem: pd.read_csv(file) for file in sorted(folder.glob("*.csv"))}


def claim(statuses: pd.DataFrame, begins: str, architecture: str = "modern") -> dict | None:
    """The row of `claims.paper_map` whose claim starts with `begins`; None without a value."""
    rows = statuses[statuses["claim"].str.startswith(begins)]
    rows = rows[rows["architecture"] == architecture].dropna(subset=["value"])
    return rows.iloc[0].to_dict() if len(rows) else None


def heading(sentence: str) -> str:
    """A sentence without its numbers in parentheses, as the title of a picture."""
    return re.sub(r" \([^()]*\d[^()]*\)", "", sentence).rstrip(".")


def number(row: dict | pd.Series, digits: int = 2) -> str:
    """`value, low, high` in a sentence: `−0.18 [−0.29, −0.07]`; `below 0.001` for what is tiny."""
    value, low, high = (float(row[name]) for name in ("value", "low", "high"))
    bounded = np.isfinite([low, high]).all()
    if max(map(abs, (value, low, high) if bounded else (value,))) < _SMALL:
        return f"below {_SMALL}"
    parts = [decimal(part, digits) for part in (value, low, high)]
    return f"{parts[0]} [{parts[1]}, {parts[2]}]" if bounded else parts[0]


def compared(
    row: dict | pd.Series, below: str, above: str, neither: str = "not distinguishable"
) -> str:
    """`below` or `above`, the side of 0 on which the interval lies; `neither` if it contains 0."""
    if row["high"] < 0:
        return below
    return above if row["low"] > 0 else neither


def _row(gaps: pd.DataFrame, contrast: str, metric: str) -> dict | None:
    """One row of `contrasts.paired_contrasts`."""
    if gaps.empty:
        return None
    rows = gaps[(gaps["contrast"] == contrast) & (gaps["metric"] == metric)]
    return rows.iloc[0].to_dict() if len(rows) else None


def _over(row: dict) -> str:
    seeds = int(row["seeds"])
    return f"{seeds} seeds" if seeds > 1 else "one seed, no interval"


def _listed(parts: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))


# One suspected cause each, from `contrasts.paired_contrasts`


def objective(gaps: pd.DataFrame) -> list[str]:
    """Does the JEPA objective change the geometry, at equal steps and at equal operations?"""
    row = _row(gaps, "objective", "uniformity")
    if row is None:
        return [_NO_PAIR]
    words = compared(row, *_UNIFORM_THAN, "not distinguishable from MLM-only's")
    effect = contrasts.published_effects()["uniformity"]
    lowest = ", the least that their signs can give" if row["p"] < 2.01 / 2 ** row["seeds"] else ""
    p = f", p = {row['p']:.3f}{lowest}, {row['p_corrected']:.2f} after Holm's correction over"
    sure = f"{p} {len(gaps)} rows" if row["seeds"] >= _CAN_BE_SIGNIFICANT else ""
    sentences = [
        f"At equal steps the hybrid's embeddings are {words}: uniformity, hybrid minus MLM-only, "
        f"{number(row)} ({_over(row)}{sure}; published {decimal(effect)})."
    ]
    rows = {words: _row(gaps, *key) for words, key in _CONTROLS.items()}
    parts = [f"{number(row)} {words}" for words, row in rows.items() if row]
    sentences += [f"It is {_listed(parts)}."] if parts else []
    if row := _row(gaps, "objective", "effective_rank"):
        words = compared(row, "poorer", "richer")
        paper = decimal(contrasts.published_effects()["effective_rank"], 1)
        sentences.append(
            f"The spectrum is {words}: effective rank {number(row, 1)} (published {paper}, of a "
            "wider encoder)."
        )
    return sentences


def operations(gaps: pd.DataFrame, cost: dict | pd.Series | None = None) -> list[str]:
    """Does the hybrid learn more, once MLM-only has as many operations?

    Args:
        cost: `value, low, high` of a hybrid step's operations over MLM-only's, minus 1.
    """
    sentences = []
    if cost is not None:
        share = {name: 100 * cost[name] for name in ("value", "low", "high")}
        more = "more" if share["value"] > 0 else "fewer"
        share = {k: abs(v) for k, v in share.items()}
        wide = decimal(share["low"], 0) != decimal(share["high"], 0)
        amount = number(share, 0) if wide else decimal(share["value"], 0)
        sentences.append(f"A hybrid step costs {amount} % {more} operations than an MLM-only step.")
    for contrast, given in (
        ("objective", "At equal steps"),
        ("objective, equal FLOPs", "At equal operations"),
    ):
        nats = _row(gaps, contrast, "below_unigram")
        if nats is None:
            continue
        words = compared(nats, "the hybrid has learned less", "the hybrid has learned more",
                         "the arms are not distinguishable in what they learn")  # fmt: skip
        sentence = f"{given} {words}: {number(nats)} nats ({_over(nats)})"
        if probe := _row(gaps, contrast, "semantic_probe"):
            words = compared(probe, "lower", "higher")
            sentence += f"; the semantic probe is {words}: {number(probe, 3)}"
        sentences.append(f"{sentence}.")
    return sentences or [_NO_PAIR]


def balance(gaps: pd.DataFrame, driven: dict | pd.Series | None = None) -> list[str]:
    """Is the cause λ? Fixed values and a slower rate against the learned one.

    Args:
        driven: `value, low, high` of w over the sum of learning rates, minus 1.
    """
    sentences = []
    if driven is not None:
        ends = sorted(100 * abs(driven[name]) for name in ("low", "high"))
        share = {"value": 100 * abs(driven["value"]), "low": ends[0], "high": ends[1]}
        side = "below" if driven["value"] < 0 else "above"
        cause = "the schedule sets λ" if ends[1] < 100 * DRIVEN else "the losses move λ, too"
        sentences.append(
            f"At the end w is {number(share, 1)} % {side} the sum of the learning rates: {cause}."
        )
    parts = {
        title: _row(gaps, f"λ{title} for learned", "uniformity")
        for title in (" = 0.25", " = 0.5", " = 0.75")
    }
    parts = {f"λ{title}": row for title, row in parts.items() if row}
    if parts:
        cells = [f"{number(row)} at {title}" for title, row in parts.items()]
        values = [row["value"] for row in parts.values()]
        trend = "Fixed λ against the learned one, uniformity"
        if len(values) > 2:
            falls, rises = np.all(np.diff(values) < 0), np.all(np.diff(values) > 0)
            trend = "The larger λ, the more uniform on average" if falls else trend
            trend = "The larger λ, the less uniform on average" if rises else trend
        clear = [title for title, row in parts.items() if compared(row, "y", "y", "")]
        clear = f"only {_listed(clear)} clearly differs" if len(clear) == 1 else (
            f"{_listed(clear)} clearly differ" if clear else "none clearly differs")  # fmt: skip
        over = _over(next(iter(parts.values())))
        sentences.append(
            f"{trend}: {_listed(cells)}, minus the learned λ ({over}); {clear} from it."
        )
    if row := _row(gaps, "λ's rate / 10", "uniformity"):
        words = compared(row, *_UNIFORM)
        sentences.append(f"A tenth of λ's learning rate: {words}, uniformity {number(row)}.")
    return sentences or ["No run with a fixed λ is here."]


def over_mlm(ends: pd.DataFrame) -> pd.DataFrame:
    """Hybrid minus MLM-only for each way of setting λ, over the seeds that all of them have.

    Args:
        ends: from `contrasts.endpoints`. Returns: as `contrasts.paired_contrasts`.
    """
    used = ends[ends["condition"].isin([*_BY_LAMBDA.values(), "mlm"])]
    seeds = [set(rows["seed"]) for _, rows in used.groupby("condition")]
    used = used[used["seed"].isin(set.intersection(*seeds) if seeds else [])]
    used = used.fillna({"task": ""})  # below_unigram has none
    return contrasts.paired_contrasts(used, {k: (v, "mlm") for k, v in _BY_LAMBDA.items()})


def every_lambda(effects: pd.DataFrame) -> list[str]:
    """Is the hybrid more uniform than MLM-only however λ is set? From `over_mlm`."""
    rows = effects[effects["metric"] == "uniformity"].to_dict("records") if len(effects) else []
    if not rows:
        return [_NO_PAIR]
    count = sum(row["high"] < 0 for row in rows)
    many = f"all {len(rows)}" if count == len(rows) else f"{count} of {len(rows)}"
    cells = [f"{number(row)} ({row['contrast']})" for row in rows]
    return [
        f"The hybrid is more uniform than MLM-only with {many} choices of λ: {_listed(cells)}, "
        f"hybrid minus MLM-only ({_over(rows[0])})."
    ]


def same_seeds(ends: pd.DataFrame) -> str:
    """Why differences of conditions with few seeds are not differences of the table's means."""
    rows = ends[ends["metric"] == "uniformity"]
    seeds = rows.groupby("condition")["seed"].unique().map(set)
    few, hybrid = min(seeds, key=len), rows[rows["condition"] == "hybrid"]
    means = [hybrid[hybrid["seed"].isin(s)]["value"].mean() for s in (seeds["hybrid"], few)]
    return (
        f"Differences below are paired by seed. The table's hybrid has {len(seeds['hybrid'])} "
        f"seeds and mean uniformity {decimal(means[0])}; conditions with only seeds "
        f"{min(few)} to {max(few)} are compared with the hybrid of these seeds, whose mean is "
        f"{decimal(means[1])}."
    )


def leak(gaps: pd.DataFrame) -> list[str]:
    """Is the cause targets that leak into the context?"""
    row, nats = (_row(gaps, "targets leak", m) for m in ("uniformity", "below_unigram"))
    if row is None:
        return ["No run with leaking targets is here."]
    words = compared(row, "lower (more uniform)", "higher (less uniform)", "not clearly different")
    parts = [f"With targets that leak, uniformity is {words} ({number(row)}, {_over(row)})"]
    if rank := _row(gaps, "targets leak", "effective_rank"):
        words = compared(rank, "lower", "higher", "not clearly different")
        parts.append(f"the effective rank is {words} ({number(rank, 1)})")
    words = compared(nats, "less is learned", "more is learned", "as much is learned")
    return [f"{'; '.join(parts)}; {words} ({number(nats, 3)} nats)."]


def at_equal_loss(
    levels: pd.DataFrame, followed: pd.DataFrame | None = None, task: str = ""
) -> list[str]:
    """What remains of the objective's effect where both arms have learned equally much.

    Args:
        levels: from `snapshots.at_equal_nats`. followed: from `plateau.at_equal_loss`.
        task: the one on which snapshots were measured.
    """
    rows = levels[levels["metric"] == "uniformity"] if len(levels) else levels
    if len(rows) == 0:
        return ["No two runs here pass through the same held-out loss."]
    cells = [f"{number(row)} at {row['level']:.2f} nats" for row in rows.to_dict("records")]
    clear = (rows["high"] < 0).sum(), (rows["low"] > 0).sum()
    count = f"{max(clear)} of {len(rows)} levels"
    words = f"The hybrid is {_UNIFORM[int(clear[1] > clear[0])]} at {count} of equal loss"
    words = words if max(clear) else "At equal loss the arms are not distinguishable"
    on = f"on {task}, the task on which snapshots are measured; " if task else ""
    sentences = [f"{words}: {_listed(cells)} ({on}{_over(rows.iloc[0])})."]
    if followed is not None and len(followed):
        rho = followed[followed["metric"] == "uniformity"]
        among = "but those as published" if "but those as published" in set(rho["among"]) else ""
        among = among or rho["among"].iloc[0]
        row = rho[rho["among"] == among].iloc[0]
        of = {"value": row["rho"], "low": row["rho_low"], "high": row["rho_high"]}
        if np.isfinite(row["rho"]) and np.isfinite(row["value"]):
            among = among.replace("but those", "all but those")
            sentences.append(
                f"{compared(of, *_FOLLOWS)}: rank correlation {number(of)} over {int(row['runs'])} "
                f"runs ({among}); in a linear fit the objective adds {number(row)} at equal nats."
            )
    return sentences


def stuck(ends: pd.DataFrame) -> list[str]:
    """Which conditions of `contrasts.endpoints` end on the plateau, and how uniform they are."""
    runs = plateau.per_run(ends)
    runs = runs[runs["below_unigram"] < PLATEAU] if len(runs) else runs
    if len(runs) == 0:
        return ["No run here ends on the plateau of word frequencies."]
    nats = runs["below_unigram"]
    titles, size = list(dict.fromkeys(runs["title"])), runs["uniformity"].abs().max()
    size = f"below {size + 5e-4:.3f}" if size >= _SMALL else f"below {_SMALL}"
    both = ", with the JEPA loss and without" if len(titles) > 1 else ""
    return [
        f"{len(runs)} runs ({_listed(titles)}) end on the plateau, within "
        f"{max(_SMALL, nats.abs().max()):.2f} nats of the loss of word frequencies. The size of "
        f"their uniformity is {size}: all texts lie nearly at one point{both}."
    ]


def before_training(trajectories: pd.DataFrame) -> list[str]:
    """Uniformity before the first step and after the last, of `snapshots.trajectories`."""
    if trajectories.empty:
        return ["No run here kept snapshots."]
    rows = trajectories[trajectories["metric"] == "uniformity"]
    rows, ends = rows[rows["condition"].isin(["hybrid", "mlm"])], {}
    if rows.empty:
        return ["No run of either arm here kept snapshots."]
    begun = _mean(rows[rows["step"] == 0].groupby("seed")["value"].mean())
    for title, part in rows.groupby("title", sort=False):
        ends[title] = _mean(part.loc[part["step"] == part["step"].max(), "value"])
    cells = [f"{number(end)} ({title})" for title, end in ends.items()]
    words = "training has pulled the texts together"
    if begun["value"] > min(end["value"] for end in ends.values()):
        words = "training has spread the texts"
    return [
        f"Before the first step uniformity is {number(begun)} on {rows['task'].iloc[0]}, after the "
        f"last {_listed(cells)}: {words}."
    ]


def schedule(trajectories: pd.DataFrame) -> list[str]:
    """How uniform MLM-only on its longer schedule is where the hybrid has ended."""
    at, tokens = _where_the_hybrid_ends(trajectories)
    if not {"hybrid", "mlm", "mlm-flops"} <= set(at):
        return ["No runs of both arms and of the longer schedule are here."]
    means = {condition: number(_mean(at[condition])) for condition in at}
    gap = _mean((at["mlm-flops"] - at["hybrid"]).dropna())
    words = compared(gap, "more uniform than the hybrid", "less uniform than the hybrid",
                     "not distinguishable from the hybrid")  # fmt: skip
    part = "Part of the difference at equal steps may be what the decay does to each arm."
    part = "The decay does not explain the difference at equal steps." if gap["low"] > 0 else part
    return [
        f"> **Gotcha.** The learning rate decays to the end of a run. After {tokens / 1e6:.1f} M "
        f"tokens uniformity is {means['hybrid']} for the hybrid and {means['mlm']} for MLM-only, "
        f"both at their end, but {means['mlm-flops']} for MLM-only on its longer schedule, whose "
        f"learning rate has decayed less. There it is {words}: {number(gap)}, paired by seed. "
        f"{part} A hybrid on the longer schedule, beside that run, would decide it; it is not "
        "trained."
    ]


def _where_the_hybrid_ends(trajectories: pd.DataFrame) -> tuple[pd.DataFrame, float]:
    """Uniformity of every seed (rows) and arm at the tokens of the hybrid's last snapshot."""
    if trajectories.empty:
        return pd.DataFrame(), np.nan
    rows = trajectories[trajectories["metric"] == "uniformity"]
    tokens = rows[rows["condition"] == "hybrid"]["tokens"].max()
    arms = rows[rows["condition"].isin(["hybrid", "mlm", "mlm-flops"])]
    at = {
        run: np.interp(tokens, points["tokens"], points["value"])
        for run, points in arms.groupby(["seed", "condition"])
    }
    return pd.Series(at, dtype=float).unstack() if at else pd.DataFrame(), tokens


def power(gaps: pd.DataFrame) -> list[str]:
    """How small an effect of the objective on uniformity these seeds could find."""
    row = _row(gaps, "objective", "uniformity")
    if row is None or row["seeds"] < 2:
        return ["One seed has no spread: how small an effect it could find is not known."]
    effect = abs(contrasts.published_effects()["uniformity"])
    needed = {}
    for metric in ("uniformity", "uniformity_released"):
        rows = [_row(gaps, name, metric) for name in ("objective", "objective, equal FLOPs")]
        counts = [row["seeds_needed"] for row in rows if row]
        needed[metric] = [
            decimal(n, 0) if np.isfinite(n) else f"over {MOST_SEEDS:,}" for n in counts
        ]
    places = ("at equal steps", "at equal operations")
    first, *others = needed["uniformity"]
    parts = [f"{first} seeds {places[0]}", *(f"{n} {places[1]}" for n in others)]
    released = needed["uniformity_released"]
    released = f" (with padding attended to: {_listed(released)})" if released else ""
    return [
        f"{int(row['seeds'])} seeds find a difference of {row['detectable']:.2f} in uniformity "
        f"with 80 % power (published: {effect:.2f}).",
        "If the true difference were 0, it would take "
        f"{_listed(parts)} to show that it is less than half the published one{released}.",
    ]


def verdicts(seen: dict[str, pd.DataFrame], wiki: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Eight suspects, each with its verdict and the numbers that decide.

    Args:
        seen: `evidence("eight-seeds")`. wiki: `evidence("plateau")`.

    Returns:
        Columns `suspect, verdict, decided by`; the index counts from 1.
    """
    gaps, levels, followed = seen["06_contrasts"], seen["06_equal_nats"], wiki["06_followed"]
    names = ("objective", "objective, equal FLOPs", "objective, as published", "targets leak")
    steps, equal, published, leaked = (_row(gaps, name, "uniformity") for name in names)
    controls = {words: _row(gaps, *key) for words, key in _CONTROLS.items()}
    unclear = [f"{number(row)} {words}" for words, row in controls.items() if row["high"] >= 0]
    objective = _RESERVED if unclear else "the cause"
    objective = objective if max(steps["high"], equal["high"]) < 0 else "undecided"
    most = f"{number(steps)} at equal steps, {number(equal)} at equal operations"
    most += f"; undecided: {_listed(unclear)}" if unclear else ""
    least = over_mlm(seen["06_ends"]).query("metric == 'uniformity'").nlargest(1, "high").iloc[0]
    level = levels.query("metric == 'uniformity'").nlargest(1, "high").iloc[0]
    followed = followed[followed["metric"] == "uniformity"].set_index("among")
    rhos = followed[["rho", "rho_low", "rho_high"]].set_axis(_BOUNDS, axis=1)
    rho, strict = rhos.loc[plateau.WITHIN], rhos.loc[plateau.BOTH]
    rank = _row(gaps, "objective, as published", "effective_rank")
    shaped = "the cause, as published" if compared(strict, "y", "y", "") else _RESERVED
    alike = published["low"] <= 0 <= published["high"]
    at, tokens = _where_the_hybrid_ends(seen["06_trajectories"])
    longer = _mean((at["mlm-flops"] - at["hybrid"]).dropna())
    p = holm([steps["p"], equal["p"]])
    stays = ("not the cause", "the cause", "undecided")  # the hybrid is still more uniform
    rows = {
        "the objective": (objective, most),
        "compute": (compared(equal, *stays), f"{number(equal)} at equal operations, hybrid minus "
                    "MLM-only"),
        "λ": (compared(least, *stays), f"{number(least)} with the least favourable choice of λ "
              f"({least['contrast']}), hybrid minus MLM-only"),
        "the leak": (
            compared(leaked, "a further cause", "not the cause", "undecided"),
            f"not needed, as the hybrid has none; with a leak minus without {number(leaked)}"),
        "what a run has learned": (
            compared(level, *stays),
            f"{number(level)} where both have learned {level['level']:.2f} nats, the level with "
            f"the weakest evidence (on {seen['06_trajectories']['task'].iloc[0]})"),
        "the plateau": (
            shaped if alike and compared(rho, "y", "y", "") else "undecided",
            f"on it uniformity, hybrid minus MLM-only, is {number(published)} (effective rank "
            f"{number(rank, 1)}); on Wikipedia, rank "
            f"correlation with the nats {number(rho)} within conditions, "
            f"{number(strict)} within conditions and seeds"),
        "the schedule": (
            "not the cause" if longer["low"] > 0 else "undecided",
            f"{number(longer)} at {tokens / 1e6:.1f} M tokens, MLM-only on its longer schedule "
            f"minus the hybrid (on {seen['06_trajectories']['task'].iloc[0]})"),
        "chance": ("not the cause" if max(p) < 0.05 else "undecided",
                   f"corrected for these two comparisons, p is {p[0]:.3f} at equal steps and "
                   f"{p[1]:.3f} at equal operations; corrected for all {len(gaps)} rows no p "
                   f"could pass, as {int(steps['seeds'])} seeds give {2 / 2 ** steps['seeds']:.3f} "
                   "at the least"),
    }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["verdict", "decided by"])
    table = table.rename_axis("suspect").reset_index()
    return table.set_axis(range(1, len(table) + 1))


def verdict(table: pd.DataFrame, suspect: int) -> str:
    """One row of `verdicts` as the last line of its section."""
    row = table.loc[suspect]
    return f"**Verdict: {row['verdict']}.** {_capital(row['decided by'])}."


def missing_references(references: pd.DataFrame) -> str:
    """Which rows of `contrasts.with_references` are not here, and why."""
    reasons = {
        "untrained": "the untrained encoder (no run of preset `demo`'s architecture here)",
        "untrained, as published": "the untrained encoder as published (no run as published here)",
        "MiniLM": "MiniLM (not installed)",
    }
    models = set(references["model"]) if len(references) else set()
    absent = [reason for name, reason in reasons.items() if name not in models]
    return f"Not in the table: {_listed(absent)}." if absent else "All three are in the table."


# Findings of other runs (notebook 00)


def grid_budget(seen: dict[str, pd.DataFrame]) -> str:
    """What the numbers of `evidence("eight-seeds")` cost, in one line."""
    facts, probes = seen["06_trajectories"], seen["04_probes"]
    ends = facts.groupby(["condition", "seed"])[["step", "tokens"]].max()
    longer = ends.loc[["mlm-flops"]]
    steps, tokens = ends.loc["hybrid"].max()
    n = probes.query("model == 'hybrid'")["n"]
    seeds = seen["06_ends"].query("condition == 'hybrid'")["seed"].nunique()
    return (
        f"Preset `demo`: {len(ends) - len(longer)} runs of {steps:,} steps ({tokens / 1e6:.1f} M "
        f"tokens of docstrings), {len(longer)} of MLM-only with the hybrid's operations "
        f"({longer['step'].max():,} steps, {longer['tokens'].max() / 1e6:.1f} M tokens); {seeds} "
        f"seeds of both arms; {len(n)} embedded tasks of {_span(n, 0)} texts, mean pooling."
    )


def probes_alike(probes: pd.DataFrame) -> list[str]:
    """Table 3: are the arms alike, and does training help? From `tables.probes_over_seeds`."""
    wide = probes.set_index(["title", "model"])[["score", "low", "high"]].unstack("model")
    wide = wide.swaplevel(axis=1)
    if not {"hybrid", "mlm"} <= set(wide.columns.levels[0]):
        return ["Both arms are needed to compare them."]
    gap = (wide["hybrid"]["score"] - wide["mlm"]["score"]).abs()
    over = _over({"seeds": probes.loc[probes["model"] == "hybrid", "seeds"].max()})
    sentences = [
        f"The arms differ by {gap.max():.3f} at most (on {gap.idxmax()}), over {len(gap)} "
        f"task{'s' if len(gap) > 1 else ''} ({over.removesuffix(', no interval')})."
    ]
    if "untrained" in wide:
        trained, before = wide["hybrid"], wide["untrained"]
        up, down = trained["low"] > before["high"], trained["high"] < before["low"]
        better, worse = (_listed(list(wide.index[side]) or ["no task"]) for side in (up, down))
        sentences.append(
            f"Training helps on {better} and hurts on {worse}: there the untrained encoder, whose "
            "vectors are sums of random word vectors, scores higher than the hybrid."
            if down.any()
            else f"Training helps on {better}."
        )
    return sentences


def statuses(claims: pd.DataFrame) -> list[str]:
    """The number of claims of `claims.paper_map` with each status, by `architecture`."""
    sentences = []
    for architecture, rows in claims.groupby("architecture", sort=False):
        count = rows["status"].value_counts()
        title, seeds = _capital(architecture), rows["seeds"].max()
        if not seeds > 0:
            sentences.append(f"{title}: no runs.")
            continue
        over = f"{int(seeds)} seeds" if seeds > 1 else "one seed"
        parts = [f"{count.get(status, 0)} {words}" for status, words in _STATUS_WORDS.items()]
        sentences.append(f"{title} ({over}), of {len(rows)} claims: {_listed(parts)}.")
    return sentences


def attention_ratio(claims: pd.DataFrame) -> list[str]:
    """The "5 to 10 times" under attention pooling, from `claims.paper_map`."""
    rows = claims[claims["claim"].str.startswith("Seven times")].dropna(subset=["value"])
    rows = rows[rows["status"] != UNKNOWN]
    ratios = np.exp(rows[_BOUNDS])
    return [
        f"Under attention pooling the hybrid's uniformity is {number(ratio)} times MLM-only's, "
        f"geometric mean of tasks (architecture {row['architecture']}, {int(row['seeds'])} seeds; "
        "published "
        f"{np.exp(row['published']):.1f} times)."
        for (_, row), (_, ratio) in zip(rows.iterrows(), ratios.iterrows(), strict=True)
    ]


def plateau_runs(seen: dict[str, pd.DataFrame]) -> list[str]:
    """The 27 runs of the published architecture on Wikipedia (`evidence("plateau")`)."""
    ends, gaps, followed = (seen[name] for name in ("06_ends", "06_contrasts", "06_followed"))
    nats = ends[ends["metric"] == "below_unigram"]["value"]
    gap = _row(gaps, "objective", "uniformity")
    scale = [_row(gaps, f"token scale, {arm}", "uniformity") for arm in ("hybrid", "MLM-only")]
    rhos = followed[followed["metric"] == "uniformity"].set_index("among")
    rhos = rhos[["rho", "rho_low", "rho_high"]].set_axis(_BOUNDS, axis=1)
    rho, within, strict = (rhos.loc[among] for among in ("all runs", plateau.WITHIN, plateau.BOTH))
    words = compared(gap, *_UNIFORM, "not distinguishable from MLM-only")
    stuck = (nats < PLATEAU).sum()
    stuck = (
        f", {stuck} of them less than {PLATEAU} nats below, left out of the picture"
        if stuck
        else ""
    )
    return [
        f"{len(nats)} runs of the published architecture ended {_span(nats)} nats below word "
        f"frequencies; the hybrid is {words} there: uniformity {number(gap)} ({_over(gap)}).",
        f"Scaling the tokens by √D moves uniformity by {number(scale[0])} (hybrid) and "
        f"{number(scale[1])} (MLM-only).",
        f"{compared(rho, *_FOLLOWS)}: rank correlation {number(rho)} (all {len(nats)} "
        f"runs{stuck}), {number(within)} among runs of one condition, {number(strict)} with "
        "condition and seed held fixed.",
    ]


def wikipedia(seen: dict[str, pd.DataFrame], trained: dict[str, pd.DataFrame]) -> list[str]:
    """Preset demo on Wikipedia and GLUE: `evidence("wikipedia")`, trained in `evidence("h100")`."""
    ends, gaps = seen["06_ends"], seen["06_contrasts"]
    nats = ends[ends["metric"] == "below_unigram"].groupby("title", sort=False)["value"]
    ended = [f"{number(_mean(values))} ({title})" for title, values in nats]
    hybrid = trained["heldout"].query("preset == 'demo' and arm == 'hybrid'")
    steps, tokens = hybrid[["step", "tokens"]].max()
    gap, token = (_row(gaps, *key) for key in (("objective", "uniformity"), _TOKEN_PROBE))
    differs = compared(gap, "of the same sign", "of the other sign", "not distinguishable from 0")
    words = compared(token, "lower", "higher")
    return [
        f"{steps:,} steps, {tokens / 1e6:.1f} M tokens, {nats.size().max()} seeds. Nats below word "
        f"frequencies: {_listed(ended)}.",
        f"On Wikipedia and GLUE uniformity, hybrid minus MLM-only, is {differs}: {number(gap)} "
        f"({_over(gap)}).",
        *power(gaps)[1:],
        f"The hybrid's token probe is {words} at equal operations: {number(token, 3)}.",
    ]


def h100(seen: dict[str, pd.DataFrame]) -> list[str]:
    """The paper's size on one H100 (`evidence("h100")`)."""
    runs, rows = seen["three_seeds"].set_index(["seed", "condition"]), seen["heldout"]
    nats, cosine = (runs[c].unstack() for c in ("below_unigram", "last_look_text_cosine"))
    steps, equal = (_mean(nats["hybrid"] - nats[arm]) for arm in ("mlm", "mlm-flops"))
    spread = _mean(cosine["hybrid"] - cosine["mlm"])
    hybrid = runs.xs("hybrid", level="condition").iloc[0]
    apart = compared(spread, "further apart in direction than", "closer in direction than",
                     "as far apart as")  # fmt: skip
    pull = (runs["jepa_gradient"] / runs["mlm_gradient"]).mean()
    paper = rows[rows["preset"] == "paper"].sort_values("tokens").iloc[-1]
    state = "on the plateau" if paper["below_unigram"] < PLATEAU else "off the plateau"
    return [
        f"At the paper's width on Wikipedia (preset `modern`, {hybrid['steps']:.0f} steps, "
        f"{hybrid['tokens'] / 1e6:.1f} M tokens, {len(nats)} seeds) nats, hybrid minus MLM-only, "
        f"are {number(steps)} at equal steps and {number(equal)} at equal operations.",
        f"The hybrid's texts lie {apart} MLM-only's: the mean cosine between the mean vectors of "
        f"two held-out blocks is {decimal(cosine['hybrid'].mean())} and "
        f"{decimal(cosine['mlm'].mean())}, a difference of {number(spread)}.",
        f"The gradient of the JEPA loss in the last shared layer has {pull:.2f} times the norm of "
        "MLM's there.",
        f"At the paper's size as published (preset `paper`), "
        f"{'MLM-only' if paper['arm'] == 'mlm' else 'the hybrid'} is {state} after "
        f"{paper['tokens'] / 1e6:.1f} M tokens ({decimal(paper['below_unigram'])} nats, one seed).",
    ]


def groups_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The number of claims with each status: a row per group, by `architecture`."""
    of = published.claims().set_index("claim")["metric"]
    by_metric = {metric: group for group, metrics in GROUPS.items() for metric in metrics}
    table = claims.assign(group=claims["claim"].map(of).map(by_metric))
    marks = {REPRODUCED: "✓", DIRECTION: "~", REFUTED: "✗", UNKNOWN: "?"}
    table = table.assign(mark=table["status"].map(marks))
    counts = table.groupby(["group", "architecture", "mark"], sort=False).size()
    wide = counts.unstack(["architecture", "mark"], fill_value=0)
    order = pd.MultiIndex.from_product([table["architecture"].unique(), marks.values()])
    return wide.reindex(index=list(GROUPS), columns=order, fill_value=0).astype(int)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _mean(values: pd.Series) -> dict:
    return student_interval(values).bounds


def _span(values, digits: int = 2) -> str:
    low, high = (decimal(value, digits) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"
