"""Tables as the notebooks show them: ours with an interval in every cell, and published numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pandas.io.formats.style import Styler

from predrecon.audit import published
from predrecon.audit.contrasts import METRICS, over_tasks, published_effects
from predrecon.audit.encoders import Model
from predrecon.audit.geometry import RANKS, SIX, published_geometry
from predrecon.audit.grid import Cell
from predrecon.audit.poolers import LARGE
from predrecon.audit.seeds import mean_of_tasks, over_seeds
from predrecon.audit.statistics import MOST_SEEDS, Interval
from predrecon.data.corpus import Corpus
from predrecon.data.tasks import EMBEDDED, GLUE_TWIN, Task
from predrecon.model import PredictReconstruct
from predrecon.objectives import balance_gradient, lambda_before
from predrecon.pooling import POOLINGS
from predrecon.recipes import ARMS, Recipe
from predrecon.training.batches import mask_batch
from predrecon.training.heldout import PLATEAU, learned
from predrecon.training.run_folder import Run
from predrecon.workbook import typeset
from predrecon.workbook.figures.panels import METRICS as METRIC_TITLES
from predrecon.workbook.labels import contrast_title

PUBLISHED_DIM = 512  # the paper's D, the upper bound of its ranks


_NATS = "below_unigram"
_SUMMARY = {
    _NATS: "nats below word frequencies",
    "uniformity": "uniformity (lower: more uniform)",
    "effective_rank": "effective rank",
    "semantic_probe": "semantic probe",
}
_ARM_TITLES = {"hybrid": "hybrid", "mlm": "MLM-only"}
_METRICS = {"mcc": "MCC", "f1": "F1", "spearman": "ρ"}
_SHORT = ("below_unigram", "uniformity", "effective_rank")


def cell_text(value: float, low: float, high: float, digits: int = 3, *, without: str = "") -> str:
    """As `Interval.text`; a dash for no value; `without` follows a value that has no interval."""
    if np.isnan(value):
        return "–"
    if np.isnan(low):
        return f"{value:.{digits}f}{without}"
    return Interval(value, low, high, 0).text(digits)


def seeds_text(seeds: int) -> str:
    return f"{seeds} seed" if seeds == 1 else f"{seeds} seeds"


def interval_cells(table: pd.DataFrame, *, digits: int = 3, seeds: bool = False) -> list[str]:
    """Each row's `value, low, high` as a cell: `0.512 [0.487, 0.537]`; a dash for no value.

    With `seeds`, from columns `seeds, basis`, also `3 seeds`, or `3 equal seeds` if they agree
    exactly and the interval is over samples; nothing if `seeds` is NaN.
    """
    cells = []
    for row in table.to_dict("records"):
        text = cell_text(row["value"], row["low"], row["high"], digits, without=", no interval")
        if seeds and text != "–" and row["seeds"] > 0:
            equal = row["seeds"] > 1 and row["basis"] == "samples"
            count = seeds_text(int(row["seeds"]))
            text += " " + (count.replace(" ", " equal ") if equal else count)
        cells.append(text)
    return cells


def pivot_cells(
    table: pd.DataFrame, index: list[str], columns: list[str], cells, *, first: tuple = ()
) -> pd.DataFrame:
    """A row per `index`, a column per value of `columns`, preceded by the columns `first`."""
    wide = table.assign(cell=cells).set_index([*index, *columns])["cell"]
    wide = wide.unstack(columns, sort=False, fill_value="–")
    if len(columns) == 1:
        wide.columns.name = None
    lines = table.drop_duplicates(index).set_index(index)
    return lines[list(first)].join(wide) if first else wide


def budget(name: str, runs: list[Run]) -> str:
    """What the runs of one recipe cost, and what they have learned: a line."""
    if not runs:
        return f"{name}: no finished run"
    run, seeds = runs[0], sorted(run.facts["seed"] for run in runs)
    counted = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    each = " each" if len(seeds) > 1 else ""
    seconds = np.mean([run.metrics["seconds"] for run in runs])
    return (
        f"{name}: {run.recipe.preset} preset, {run.recipe.corpus}, {counted}, "
        f"{run.metrics['tokens'] / 1e6:.2f} M tokens in {run.metrics['steps']:,} steps and "
        f"{seconds:.0f} s{each} on {run.metrics['device']}; "
        f"{learned(*(run.metrics for run in runs))}"
    )


def recipe_tables(recipe: Recipe, corpus: Corpus) -> list[Styler]:
    """Text and steps; and, folded, every field of the recipe."""
    steps = recipe.steps(len(corpus.blocks("train", recipe.length)))
    text = pd.DataFrame({split: corpus.facts[split] for split in ("train", "validation")})
    fields = pd.Series(vars(recipe), dtype=object).map(str).to_frame("value").rename_axis("field")
    cost = f"{steps:,} steps of {recipe.batch_size} blocks of {recipe.length} tokens"
    return [
        typeset.styled(text.loc[["documents", "characters", "tokens"]], f"The text; {cost}"),
        typeset.styled(fields, f"All fields of the recipe: preset {recipe.preset}"),
    ]


def histories(runs: dict[str, Run]) -> pd.DataFrame:
    """The histories of all arms, one after another, with a column `arm`."""
    return pd.concat([run.history.assign(arm=arm) for arm, run in runs.items()])


def training_tables(runs: dict[str, Run]) -> list[Styler]:
    """Held-out losses and cost, a row per arm; and, folded, everything a run has measured."""
    lines = {
        arm: {
            "MLM loss": m["validation_mlm"],
            "word frequencies alone": m["validation_unigram"],
            "JEPA loss": m["validation_jepa"],
            "steps": m["steps"],
            "M tokens": m["tokens"] / 1e6,
            "TFLOP": m["flops"] / 1e12,
            "seconds": round(m["seconds"]),
        }
        for arm, m in ((arm, run.metrics) for arm, run in runs.items())
    }
    short = pd.DataFrame.from_dict(lines, orient="index")
    short["JEPA loss"] = short["JEPA loss"].astype(float)
    every = pd.DataFrame({arm: run.metrics for arm, run in runs.items()}).map(_short)
    return [
        typeset.styled(short, "Held-out losses and cost", precision=2),
        typeset.styled(every, "All that was measured"),
    ]


def _short(value) -> str:
    """Six digits of a number, as 9.46557e12; other values as they are."""
    return f"{value:.6g}".replace("e+", "e") if isinstance(value, float) else str(value)


def training_sentences(runs: dict[str, Run]) -> list[str]:
    """What the runs of one seed reached, and how much more the hybrid's steps cost."""
    sentences = []
    for arm, run in runs.items():
        jepa, nats = run.metrics["validation_jepa"], run.metrics["below_unigram"]
        plateau = ": it is on the plateau" if nats < PLATEAU else ""
        name = {"mlm": "MLM-only"}.get(arm, arm)
        ends = ""
        if jepa is not None:
            ends = f"; its JEPA loss ends at {'< 0.001' if jepa < 1e-3 else f'{jepa:.3f}'}"
        sentences.append(f"**{name}** ends {nats:.2f} nats below word frequencies{plateau}{ends}.")
        sentences += _against_a_constant(run.history)
    if set(ARMS) <= set(runs):
        hybrid, mlm = (runs[arm].metrics for arm in ARMS)
        ratio, gap = (
            hybrid["flops"] / mlm["flops"],
            mlm["validation_mlm"] - hybrid["validation_mlm"],
        )
        sentences.append(
            f"On held-out text the hybrid's MLM loss is {abs(gap):.3f} nats "
            f"{'lower' if gap > 0 else 'higher'} than MLM-only's, in one seed; its steps cost "
            f"{ratio:.2f} times the operations."
        )
    return sentences


def _against_a_constant(history: pd.DataFrame) -> list[str]:
    """How far the predictor is ahead of one that gives every target the same vector."""
    if "constant_floor" not in history or len(looks := history.dropna(subset="constant_floor")) < 2:
        return []
    first, last = looks.iloc[0], looks.iloc[-1]
    fell = first["jepa_cosine"] - last["jepa_cosine"]
    alike = fell > 0 and first["constant_floor"] - last["constant_floor"] > fell / 2
    why = ": most of its fall is that targets became more alike" if alike else ""
    return [
        f"On the monitored texts the JEPA loss is {last['jepa_cosine']:.3f}; the best constant "
        f"vector has {last['constant_floor']:.3f}{why}."
    ]


def balance_table(run: Run) -> pd.DataFrame:
    """lambda(t), its gradient, and the prediction: `step, lam, predicted, sum_lr, gradient`."""
    if run.recipe.arm != "hybrid":
        raise ValueError(
            f"{run.folder.name} is an MLM-only run: it has no balance. Use the hybrid."
        )
    history = run.history
    predicted = lambda_before(run.recipe, run.metrics["steps"], history["step"])
    return history[["step", "lam"]].assign(
        predicted=predicted,
        sum_lr=np.log(predicted / (1 - predicted)),
        gradient=balance_gradient(history["lam"], history["jepa_loss"], history["mlm_loss"]),
    )


def balance_sentences(table: pd.DataFrame) -> list[str]:
    """How far a trained lambda is from what the schedule predicts; from `balance_table`."""
    last, gap = table.iloc[-1], (table["lam"] - table["predicted"]).abs().max()
    return [
        f"After {int(last['step']):,} steps the learning rates sum to {last['sum_lr']:.3f}: they "
        f"predict λ = {last['predicted']:.3f}, {last['lam']:.3f} was trained.",
        f"The two curves are never more than {gap:.3f} apart.",
        f"The gradient is negative in {(table['gradient'] < 0).mean():.1%} of the {len(table)} "
        "logged steps.",
    ]


@torch.no_grad()
def fill_masks(
    model: PredictReconstruct, corpus: Corpus, recipe: Recipe, *, n: int = 6, top: int = 3
) -> pd.DataFrame:
    """The MLM head's guesses at `n` [MASK] positions of held-out text: `text, was, guesses`.

    In `text` the position is marked [?]; its neighbours may be masked, too.
    """
    blocks, tokenizer = corpus.blocks("validation", recipe.length), corpus.tokenizer
    chosen = np.linspace(0, len(blocks) - 1, min(n, len(blocks))).astype(int)
    batch = mask_batch(recipe, corpus, blocks.batch(chosen), 0, 0)
    hidden = model.encoder.encode(batch["masked_ids"])  # (n, L, D)
    rows = []
    for ids, labels, vectors in zip(batch["masked_ids"], batch["labels"], hidden, strict=True):
        masked = (ids == tokenizer.mask_token_id).int()
        if not masked.any():
            continue
        place = int(masked.argmax())
        likely = model.logits(vectors[place]).softmax(-1).topk(top)
        words = tokenizer.convert_ids_to_tokens(likely.indices.tolist())
        guesses = ", ".join(f"{w} {p:.0%}" for w, p in zip(words, likely.values, strict=True))
        before, after = ids[max(0, place - 5) : place], ids[place + 1 : place + 6]
        text = f"{tokenizer.decode(before.tolist())} [?] {tokenizer.decode(after.tolist())}"
        was = tokenizer.convert_ids_to_tokens(int(labels[place]))
        rows.append({"text": text, "was": was, "guesses": guesses})
    return pd.DataFrame(rows)


def task_table(tasks: list[Task], model: Model) -> pd.DataFrame:
    """A row per task; `cut` is the share of validation texts longer than the model reads."""
    longest, rows = model.max_length, {}
    for task in tasks:
        split = task.validation
        ids = model.token_ids(split.first, split.second, 10**6)
        cut = sum(len(text) > longest for text in ids) / len(ids)
        rows[task.title] = {
            "train": len(task.train),
            "validation": len(split),
            "classes": ", ".join(task.classes) or "graded 0-5",
            "metric": task.metric,
            f"cut at {longest} tokens": f"{cut:.1%}",
            "note": task.note,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def map_table(claims: pd.DataFrame) -> pd.DataFrame:
    """`claims.paper_map`: a row per claim, with published number, ours, status and notebook."""
    ours = [cell_text(*row) for row in claims[["value", "low", "high"]].to_numpy(float)]
    columns = {
        "published": _numbers(claims["published"]),
        "ours": [text.replace(" ", "\u00a0") for text in ours],  # in one line
        "status": claims["status"]
        + (" (" + claims["why"] + ")").where(claims["why"].str.contains("±"), ""),
        "notebook": claims["cell"],
    }
    return pd.DataFrame(columns).set_index(pd.Index(claims["claim"], name="claim"))


def map_tables(claims: pd.DataFrame) -> list[Styler]:
    """`map_table` of each `architecture`, for a notebook; the published one comes last."""
    parts = list(claims.groupby("architecture", sort=False))[::-1]
    return [
        typeset.styled(map_table(rows), f"All claims, {architecture}.", wrap=True)
        for architecture, rows in parts
    ]


# Table 3: linear probes


def probes_over_seeds(probes: pd.DataFrame) -> pd.DataFrame:
    """`linear_probes.linear_probing` with one row per task and model: the mean over its seeds.

    Returns:
        Columns `task, title, metric, n_train, n, model, score, low, high, seeds, basis`.
    """
    means = over_seeds(probes.rename(columns={"score": "value"}).assign(pooling="mean"))
    means = means.merge(probes[["task", "n_train"]].drop_duplicates(), on="task")
    columns = "task title metric n_train n model score low high seeds basis".split()
    return means.rename(columns={"value": "score"})[columns]


def probes_with_published(probes: pd.DataFrame) -> pd.DataFrame:
    """`probes_over_seeds` with the published scores as two more models (GLUE tasks only)."""
    means = probes_over_seeds(probes)
    scores = published.linear_probe().melt("task", ARMS, "model", "score")
    scores["model"] = "published " + scores["model"]
    tasks = means[["task", "title", "metric"]].drop_duplicates()
    return pd.concat([means, tasks.merge(scores, on="task")], ignore_index=True)


def probing_table(probes: pd.DataFrame) -> pd.DataFrame:
    """Table 3: `linear_probes.linear_probing`, a row per task, with published numbers."""
    means = probes_over_seeds(probes).rename(columns={"score": "value"})
    means["seeds"] = means["seeds"].where(means["model"] != "majority")
    cells = interval_cells(means, seeds=True)
    first = ("metric", "n_train", "n")
    table = pivot_cells(means, ["task", "title"], ["model"], cells, first=first)
    scores = published.linear_probe().set_index("task").reindex(table.index.get_level_values(0))
    if scores[[*ARMS]].notna().any(axis=None):  # only GLUE tasks have published numbers
        for arm in ARMS:
            table[f"published {arm}"] = _numbers(scores[arm]).to_numpy()
    return table.droplevel("task").rename_axis("task")


def scores_table(probes: pd.DataFrame) -> pd.DataFrame:
    """`probing_table` without its counts: a row per task and metric, a column per model."""
    means = probes_over_seeds(probes).rename(columns={"score": "value"})
    means["task"] = means["title"] + ", " + means["metric"].replace(_METRICS)
    means["model"] = means["model"].replace(_ARM_TITLES | {"majority": "majority class"})
    wide = pivot_cells(means, ["task"], ["model"], interval_cells(means, digits=2))
    full = probing_table(probes)
    for column in (column for column in full if column.startswith("published")):
        wide[column] = full[column].to_numpy()
    return wide


def epoch_gain_table(gains: pd.DataFrame) -> pd.DataFrame:
    """`linear_probes.epoch_selection_gain` in points (score times 100): tasks x models."""
    points = gains.assign(**100 * gains[["value", "low", "high"]])
    cells = interval_cells(points, digits=1, seeds=gains["seeds"].nunique() > 1)
    wide = pivot_cells(points, ["title"], ["model"], cells, first=("n", "seeds"))
    return wide.rename(columns=_ARM_TITLES).rename_axis("task")


_SELECTED = {
    "last": "after the last epoch",
    "inner": "of the epoch that is best on a tenth of the training split",
    "reported": "of the epoch that is best on the very split that is reported",
}


def probing_caption(select: str = "last") -> str:
    """What a reader of `probing_table` must know."""
    return (
        f"Table 3. Linear probes. Scores {_SELECTED[select]}, with 95 % intervals. Over several "
        "seeds an interval says what another training run would give and holds no sampling error "
        "of the n texts; with one seed, with equal seeds and for the majority it is that of the "
        "texts alone. MCC and ρ of a constant answer are 0 on any texts. Published: one seed, "
        "D = 512, the best epoch, no interval."
    )


def probing_tables(probes: pd.DataFrame, select: str = "last") -> list[Styler]:
    """`scores_table` and, folded, `probing_table`, for a notebook."""
    seeds = seeds_text(int(probes.groupby("model")["seed"].nunique().max()))
    title = f"Table 3, scores {_SELECTED[select]} ({seeds})."
    short = typeset.styled(scores_table(probes), title)
    return [short, typeset.styled(probing_table(probes), probing_caption(select), wrap=True)]


def export_probing_table(probes: pd.DataFrame, folder: Path, select: str = "last") -> list[Path]:
    """Table 3 as CSV (every number, published ones included), Markdown and LaTeX; the files."""
    caption, text = probing_caption(select), probing_table(probes)
    return typeset.export(probes_with_published(probes), text, folder, "table_03", caption)


# Tables 4 to 11: geometry


@dataclass(frozen=True)
class PaperTable:
    """The numbers that a table of the paper holds; no `task`: all five."""

    title: str
    metrics: tuple[str, ...]
    poolings: tuple[str, ...] = POOLINGS
    task: str = ""


_SPECTRAL = ("spectral_entropy", "spectral_entropy_sigma2", "effective_rank", "stable_rank")
_PROBES = ("semantic_probe", "token_probe", "probe_gap")
_ALIGNMENTS = ("alignment", "alignment_squared", "alignment_by_class", "pair_alignment")
_EVERYTHING = (*_SPECTRAL, "rank_90", "rankme", *_ALIGNMENTS)
_EVERYTHING += ("intra_inter_ratio", "uniformity", *_PROBES)
TABLES = {
    4: PaperTable("Uniformity", ("uniformity",)),
    5: PaperTable("Spectral metrics, max pooling", _SPECTRAL, ("max",)),
    6: PaperTable("Probing, attention pooling", _PROBES, ("attention",)),
    7: PaperTable("All metrics, SST-2", _EVERYTHING, task="sst2"),
    8: PaperTable("All metrics, MRPC", _EVERYTHING, task="mrpc"),
    9: PaperTable("All metrics, MNLI", _EVERYTHING, task="mnli"),
    10: PaperTable("All metrics, CoLA", (*_EVERYTHING, "semantic_probe_mcc"), task="cola"),
    11: PaperTable("All metrics, STS-B", _EVERYTHING, task="stsb"),
}


def geometry_with_published(table: pd.DataFrame) -> pd.DataFrame:
    """`_over_seeds_with_dim` and, for GLUE tasks, the published values as models `published ...`.

    Published rows have no interval and no n.
    """
    ours, paper = _over_seeds_with_dim(table), published_geometry()
    paper = paper[paper["task"].isin(ours["task"]) & paper["metric"].isin(ours["metric"])]
    titles = paper["task"].map(dict(zip(ours["task"], ours["title"], strict=True)))
    paper = paper.assign(model="published " + paper["model"], title=titles, dim=PUBLISHED_DIM)
    return pd.concat([ours, paper], ignore_index=True)


def paper_table(number: int, table: pd.DataFrame) -> pd.DataFrame:
    """Table `number` of the paper, ours next to the published numbers.

    Args:
        table: `Geometry.table`, of any number of seeds.

    Returns:
        Index `title, pooling, metric`. Columns for each arm `value, low, high, seeds, basis, n,
        dim` and `published`. For embedded tasks the published number belongs to the GLUE task of
        the same shape, which is another task.

    Raises:
        ValueError: no such table (the valid ones are listed), or none of its tasks was measured.
    """
    if number not in TABLES:
        raise ValueError(f"Table {number}: expected one of {', '.join(map(str, TABLES))}.")
    content = TABLES[number]
    ours = _over_seeds_with_dim(table[table["model"].isin(ARMS)])
    ours["twin"] = ours["task"].replace(GLUE_TWIN)
    ours = ours[ours["metric"].isin(content.metrics) & ours["pooling"].isin(content.poolings)]
    if content.task:
        ours = ours[ours["twin"] == content.task]
    if ours.empty:
        raise ValueError(f"Table {number} needs {content.task or 'GLUE tasks'}: not measured here.")
    paper = published_geometry().rename(columns={"task": "twin", "value": "published"})
    both = ours.merge(paper, on=["twin", "pooling", "metric", "model"], how="left")
    index = ["title", "pooling", "metric"]
    columns = ["value", "low", "high", "seeds", "basis", "n", "dim", "published"]
    wide = both.set_index([*index, "model"])[columns].unstack("model").swaplevel(axis=1)
    wide = wide.reindex(columns=pd.MultiIndex.from_product([ARMS, columns]))
    titles = dict.fromkeys(ours["title"])
    order = pd.MultiIndex.from_product([titles, content.poolings, content.metrics], names=index)
    return wide.reindex(order[order.isin(wide.index)])


def paper_table_text(wide: pd.DataFrame, *, seeds: bool = True) -> pd.DataFrame:
    """`paper_table` with N, D and a cell per arm, which may name its seeds.

    A published rank states its D if ours is different.
    """
    text = {"N": _of_both(wide, "n"), "D": _of_both(wide, "dim")}
    is_rank = wide.index.isin(RANKS, level="metric")
    for arm in ARMS:
        text[arm] = interval_cells(wide[arm], seeds=seeds)
        numbers, dim = _numbers(wide[arm, "published"]), wide[arm, "dim"]
        other_dim = is_rank & (numbers != "–") & dim.notna() & (dim != PUBLISHED_DIM)
        text[f"published {arm}"] = numbers.mask(other_dim, numbers + f" (D = {PUBLISHED_DIM})")
    return pd.DataFrame(text, index=wide.index)


def _caption(number: int, wide: pd.DataFrame, table: pd.DataFrame) -> str:
    """What a table holds, what its intervals are over, what is compared."""
    over = _bases(wide)
    text = (
        f"Table {number}. {TABLES[number].title}. Ours at D = "
        f"{', '.join(_of_both(wide, 'dim').unique())} with 95 % intervals over {over}; published: "
        f"one seed, D = {PUBLISHED_DIM}, no interval."
    )
    if table["task"].isin(EMBEDDED).any():
        text += " The published numbers are of the GLUE task of the same shape: another task."
    return text


def _bases(wide: pd.DataFrame) -> str:
    bases = set(wide.xs("basis", axis=1, level=1).stack().dropna())
    return " or ".join(b.replace("samples", "texts (one seed)") for b in sorted(bases))


def styled_paper_table(number: int, table: pd.DataFrame) -> Styler:
    """`paper_table` for a notebook, with the same errors; no column repeats the caption.

    Published numbers appear for GLUE tasks only: those of the embedded tasks' twins are for other
    texts, and are in the exported files.
    """
    wide, content = paper_table(number, table), TABLES[number]
    titles, heading = wide.index.unique("title"), content.title
    text = paper_table_text(wide, seeds=False).drop(columns=["N", "D"])
    sizes = wide.xs("n", axis=1, level=1).stack()
    counts = " to ".join(f"{size:,.0f}" for size in sorted({sizes.min(), sizes.max()}))
    dims, over = ", ".join(_of_both(wide, "dim").unique()), _bases(wide)
    note = f"Published: one seed, D = {PUBLISHED_DIM}, no interval."
    own = table.loc[table["task"].isin(EMBEDDED), "title"].unique()
    if titles.isin(own).all():
        text = text.drop(columns=[column for column in text if "published" in column])
        note = "The exported files also hold the published numbers."
        if content.task:
            heading = heading.replace(", ", f", {titles[0]} instead of ")
    elif titles.isin(own).any():
        note += " For embedded tasks it is of the GLUE task of the same shape: another task."
    caption = (
        f"Table {number}. {heading}. N = {counts} texts, D = {dims}; 95 % intervals over {over}. "
        + note
    )
    levels = {"title": titles, "pooling": content.poolings, "metric": content.metrics}
    single = [level for level, values in levels.items() if len(values) == 1]
    return typeset.styled(text.droplevel(single[: wide.index.nlevels - 1]), caption)


def paper_tables(table: pd.DataFrame) -> list[Styler]:
    """Those of Tables 4 to 11 of which a task was measured, for a notebook."""
    return [styled_paper_table(number, table) for number in _measured(table)]


def export_paper_tables(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Every measured table as CSV (every number), Markdown and LaTeX; returns the files."""
    files = []
    for number in _measured(table):
        wide = paper_table(number, table)
        numbers = wide.set_axis(["_".join(column) for column in wide.columns], axis=1).reset_index()
        name, caption = f"table_{number:02d}", _caption(number, wide, table)
        files += typeset.export(numbers, paper_table_text(wide), folder, name, caption)
    return files


def _measured(table: pd.DataFrame) -> list[int]:
    """The tables of which a task was measured."""
    tasks = set(table["task"].replace(GLUE_TWIN))
    return [number for number, content in TABLES.items() if content.task in {"", *tasks}]


def _over_seeds_with_dim(table: pd.DataFrame) -> pd.DataFrame:
    """`seeds.over_seeds` with the D of each model's embeddings."""
    dims = table.groupby("model", as_index=False)["dim"].first()
    return over_seeds(table).merge(dims, on="model", how="left")


def _of_both(wide: pd.DataFrame, column: str) -> pd.Series:
    """A count in each row: one number if the arms agree, else both."""
    counts = wide.xs(column, axis=1, level=1)
    return counts.apply(lambda row: ", ".join(f"{int(v):,}" for v in row.dropna().unique()), axis=1)


def geometry_table(table: pd.DataFrame, metrics: tuple[str, ...] = SIX) -> pd.DataFrame:
    """`Geometry.table`, a row per task and pooling: metric x model, values with intervals."""
    means = over_seeds(table[table["metric"].isin(metrics)])
    cells = interval_cells(means)
    wide = pivot_cells(means, ["title", "pooling"], ["metric", "model"], cells)
    return wide.reindex(columns=list(metrics), level=0)


def opened_table(models: list[Model]) -> pd.DataFrame:
    """What was opened: a row per encoder and seed."""
    rows = []
    for model in models:
        weights = list(model.encoder.parameters())
        rows.append(
            {
                "encoder": model.name,
                "architecture": type(model.encoder).__name__,
                "M parameters": f"{sum(w.numel() for w in weights) / 1e6:.1f}",
                "precision": str(weights[0].dtype).removeprefix("torch."),
                "tokens read": model.max_length,
                "own pooling": "–" if model.own is None else str(model.own),
            }
        )
    return pd.DataFrame(rows)


def layers_table(layers: pd.DataFrame) -> pd.DataFrame:
    """`by_layer.geometry_by_layer`, a row per task, encoder and layer."""
    layers = layers.drop(columns="task").rename(
        columns={"title": "task", "model": "encoder", "dim": "D"}
    )
    index = ["task", "encoder", "seed", "layer"] if layers["seed"].any() else None
    index = index or ["task", "encoder", "layer"]
    return pivot_cells(layers, index, ["metric"], interval_cells(layers), first=("D",))


def encoders_table(
    table: pd.DataFrame, metrics: tuple[str, ...] = (*SIX, *_PROBES[:2])
) -> pd.DataFrame:
    """`Geometry.table`, a row per task, encoder, seed and pooling, with D, which bounds ranks.

    An encoder's `own` pooling is listed after the four that all have.
    """
    table = table[table["metric"].isin(metrics)].drop(columns="task")
    table = table.rename(columns={"title": "task", "dim": "D"})
    several = table.groupby("model")["seed"].transform("nunique") > 1
    seeded = table["model"] + ", seed " + table["seed"].astype(str)
    table = table.assign(encoder=table["model"].where(~several, seeded))
    index = ["task", "encoder", "pooling"]
    wide = pivot_cells(table, index, ["metric"], interval_cells(table), first=("D",))
    return wide[["D", *(metric for metric in metrics if metric in wide)]]


def measures_table(
    table: pd.DataFrame, lines: tuple[str, ...] = ("task", "encoder", "pooling")
) -> pd.DataFrame:
    """Rows `title, model, metric, value, low, high, n` as one row per `lines`, n first.

    A column `chance` follows the interval in the same cell.
    """
    table = table.drop(columns="task").rename(columns={"title": "task", "model": "encoder"})
    together = dict(key=lambda names: pd.factorize(names)[0], kind="stable")
    table = table.sort_values([*lines], ignore_index=True, **together)
    first, cells = (
        tuple(name for name in ("n", "candidates") if name in table),
        interval_cells(table),
    )
    if "chance" in table:
        cells = [
            f"{cell} (chance {chance:.3f})"
            for cell, chance in zip(cells, table["chance"], strict=True)
        ]
    return pivot_cells(table, [*lines], ["metric"], cells, first=first)


def pairs_table(
    gaps: pd.DataFrame, metrics: tuple[str, ...] = (*SIX, *_PROBES[:2])
) -> pd.DataFrame:
    """`seeds.pairwise`, a row per pair, pooling and task; widths replace ranks of two widths."""
    gaps = gaps[gaps["metric"].isin(metrics)].drop(columns="task").rename(columns={"title": "task"})
    gaps = gaps.assign(encoders=gaps["one"] + " − " + gaps["other"])
    widths = "D = " + gaps["dim"].astype(str) + " and " + gaps["other_dim"].astype(str)
    cells = pd.Series(interval_cells(gaps), gaps.index).mask(gaps["value"].isna(), widths)
    wide = pivot_cells(gaps, ["encoders", "pooling", "task"], ["metric"], cells)
    return wide[[metric for metric in metrics if metric in wide]]


# Notebooks 05 and 05b: hybrid minus MLM-only, and what else moves it

HEADLINE = ("uniformity", "effective_rank", "probe_gap")
"""The paper's claims of geometry: more uniform, richer, less lexical."""


def margin_text(value: float, low: float, high: float, digits: int = 3) -> str:
    """A difference and half its interval: `−0.180 ± 0.107`; `< 0.001` if both bounds are small."""
    least = 10**-digits
    if np.isnan(value):
        return "–"
    number = f"{value:.{digits}f}".replace("-", "−" if abs(value) >= least / 2 else "")
    if not np.isfinite([low, high]).all():
        return f"{number}, no interval"
    if max(abs(low), abs(high)) < least:
        return f"< {least:.{digits}f}"
    return f"{number} ± {(high - low) / 2:.{digits}f}"


def margins(rows: pd.DataFrame) -> pd.Series:
    """`margin_text` of each row's `value, low, high`."""
    bounds = rows[["value", "low", "high"]].to_numpy(float)
    return pd.Series([margin_text(*row) for row in bounds], rows.index, dtype=object)


def gap_table(gaps: pd.DataFrame, metrics: tuple[str, ...] = HEADLINE) -> pd.DataFrame:
    """`seeds.headline`: a row per pooling, a column per metric, a star for corrected p < 0.05."""
    rows = gaps[gaps["metric"].isin(metrics)]
    stars = rows["p_corrected"].map(lambda p: " *" if p < 0.05 else "")
    wide = pivot_cells(rows, ["pooling"], ["metric"], margins(rows) + stars)
    wide = wide[[metric for metric in metrics if metric in wide]]
    return wide.rename(columns=lambda metric: metric.replace("_", " "))


def every_gap_table(gaps: pd.DataFrame) -> pd.DataFrame:
    """As `gap_table`, for every metric: a row per metric, a column per pooling."""
    return gap_table(gaps, tuple(gaps["metric"].unique())).T.rename_axis("metric")


def gap_caption(gaps: pd.DataFrame) -> str:
    """What the intervals of `seeds.headline` are over."""
    seeds = int(gaps["seeds"].max())
    if seeds == 1:
        return "Hybrid minus MLM-only. Mean of tasks, ± 95 % interval over the texts of one seed."
    return (
        f"Hybrid minus MLM-only. Mean of tasks, paired by seed, ± Student's 95 % interval over "
        f"{seeds} seeds; * p < 0.05 by sign flips, corrected for {len(gaps)} rows (Holm)."
    )


def pooler_table(ratios: pd.DataFrame) -> pd.DataFrame:
    """`poolers.ratios`, a row per task: medians over seeds, and the range of all random pairs."""
    pairs = ratios[ratios["basis"] == "own draw"].groupby("title", sort=False)["ratio"]
    fixed = ratios[ratios["pooler"] != "random attention"]
    wide = fixed.pivot_table("ratio", "title", "pooler", aggfunc="median", sort=False)
    wide = wide.map("{:.2f}".format).rename_axis(index="task", columns=None)
    ends = zip(pairs.min(), pairs.max(), strict=True)
    wide["random pairs"] = [f"{low:.2f} to {high:.2f}" for low, high in ends]
    large = pairs.agg(lambda ratio: (ratio >= LARGE).mean())
    wide[f"of these {LARGE} or more"] = large.map("{:.1%}".format)
    return wide


def length_means(control: pd.DataFrame) -> pd.DataFrame:
    """`length.length_control`, a row per model: means of tasks and seeds."""
    means = control.pivot_table("value", "model", "metric", sort=False)
    heads = {
        "uniformity, all pairs": ("uniformity", "{:.3f}"),
        "pairs of equal length": ("equal_length", "{:.3f}"),
        "explained by length": ("explained", "{:.1%}"),
        "by chance": ("by_chance", "{:.1%}"),
    }
    cells = {head: means[metric].map(form.format) for head, (metric, form) in heads.items()}
    return pd.DataFrame(cells).rename(index={"mlm": "MLM-only"})


def length_table(control: pd.DataFrame) -> pd.DataFrame:
    """`length.length_control` over seeds (`seeds.over_seeds`), a row per task and model."""
    cells = [cell_text(*row) for row in control[["value", "low", "high"]].to_numpy(float)]
    return pivot_cells(control, ["title", "model"], ["metric"], cells, first=("n", "seeds"))


# Notebook 06: the grid


def inventory_table(planned: list[Cell], facts: pd.DataFrame) -> pd.DataFrame:
    """What is on disk (`contrasts.training_facts`) of what was planned, a row per condition."""
    table = pd.Series([cell.title for cell in planned]).value_counts(sort=False).to_frame("planned")
    runs = facts.groupby("title")
    nats = runs["below_unigram"].agg(["min", "max"])
    trained = {
        "trained": runs.size(),
        "steps": runs["steps"].last().map("{:,}".format),
        "M tokens": (runs["tokens"].last() / 1e6).map("{:.1f}".format),
        "nats below word frequencies": nats.agg(_nats, axis=1),
    }
    missing = {"trained": 0, "steps": "–", "M tokens": "–"}
    table = table.join(pd.DataFrame(trained, dtype=object)).fillna(missing).fillna("not trained")
    return table.astype({"trained": int}).rename_axis("condition")


def _nats(ends: pd.Series) -> str:
    plateau = ", on the plateau" if ends["min"] < PLATEAU else ""
    return f"{ends['min']:.3f} to {ends['max']:.3f}{plateau}"


def costs_table(facts: pd.DataFrame) -> pd.DataFrame:
    """Operations of each condition (`contrasts.training_facts`), mean of its seeds."""
    per_token = facts["flops"] / facts["tokens"] / 1e6
    table = facts.assign(**{"TFLOP": facts["flops"] / 1e12, "MFLOP a token": per_token})
    columns = ["steps", "TFLOP", "MFLOP a token"]
    means = table.groupby("title", sort=False)[columns].mean().rename_axis("condition")
    if (base := table.loc[table["condition"] == "mlm", "TFLOP"]).size:
        means["times MLM-only"] = means["TFLOP"] / base.mean()
    return means.round(2).assign(steps=means["steps"].round().astype(int))


def _rounded(table: pd.DataFrame) -> list[str]:
    """`interval_cells`, with one digit after the point for ranks."""
    ranks = table["metric"].str.startswith("effective_rank")
    both = [interval_cells(table, digits=digits) for digits in (1, 3)]
    return [cells[0] if rank else cells[1] for *cells, rank in zip(*both, ranks, strict=True)]


def endpoint_table(ends: pd.DataFrame) -> pd.DataFrame:
    """`contrasts.endpoints`, a row per condition: means of tasks with their intervals."""
    means = over_tasks(ends, ["title", "metric"]).rename(columns={"title": "condition"})
    wide = pivot_cells(means, ["condition"], ["metric"], _rounded(means), first=("seeds",))
    return wide[["seeds", *(metric for metric in METRICS if metric in wide)]]


def contrast_table(gaps: pd.DataFrame) -> pd.DataFrame:
    """`contrasts.paired_contrasts`, a row per contrast; a star for corrected p below 0.05."""
    if gaps.empty:
        return gaps
    notes = gaps["seeds"].map({1: " (1 seed)"}).fillna("")
    notes += gaps["p_corrected"].map(lambda p: " *" if p < 0.05 else "")
    cells = _rounded(gaps) + notes
    gaps = gaps.assign(contrast=gaps["contrast"].map(contrast_title))
    return pivot_cells(gaps, ["contrast"], ["metric"], cells, first=("seeds",))


def star_note(gaps: pd.DataFrame) -> str:
    """What a star in `contrast_table` means, or how many seeds one would take."""
    if gaps.empty:
        return "No contrast has both its sides here."
    rows, seeds = len(gaps), int(gaps["seeds"].max())
    needed = math.floor(math.log2(2 * rows / 0.05)) + 1  # the smallest p is rows x 2 / 2^seeds
    sure = f"p < 0.05 (sign flips, Holm's correction over {rows} rows)"
    if seeds >= needed:
        return f"A star marks {sure}."
    return f"No star is possible: {sure} takes {needed} seeds, and {seeds} are the most here."


def folded(wide: pd.DataFrame, caption: str, short: tuple[str, ...] = _SHORT) -> list[Styler]:
    """A table of many metrics as several that fit a page: `short` first, then three at a time."""
    metrics = [metric for metric in wide if metric in METRIC_TITLES]
    first = [metric for metric in short if metric in metrics] or metrics[:3]
    others = [metric for metric in metrics if metric not in first]
    counts = [column for column in wide if column not in metrics]
    groups = [first, *(others[start : start + 3] for start in range(0, len(others), 3))]
    names = {m: METRIC_TITLES[m][0].replace("Eq. ", "Eq.\u00a0") for m in metrics}
    parts = []
    for group in groups:
        title = caption if group is first else ", ".join(names[metric] for metric in group)
        parts.append(typeset.styled(wide[[*counts, *group]].rename(columns=names), title))
    return parts


def by_pooling(
    rows: pd.DataFrame, table_of: Callable[[pd.DataFrame], pd.DataFrame], caption: str
) -> list[Styler]:
    """`folded` parts of a table of encoders: mean pooling alone, then every pooling and metric."""
    mean = rows[rows["pooling"] == "mean"]
    short = ("uniformity", "effective_rank", "semantic_probe")
    parts = folded(table_of(mean), f"{caption}, mean pooling", short)[:1] if len(mean) else []
    return [*parts, *folded(table_of(rows), f"{caption}, every pooling", short)]


def power_table(gaps: pd.DataFrame) -> pd.DataFrame:
    """The smallest detectable effects of the objective, from `contrasts.paired_contrasts`."""
    effects, rows = published_effects(), []
    for row in gaps.to_dict("records"):
        published = effects.get(row["metric"].removesuffix("_released"))
        if not row["contrast"].startswith("objective") or published is None or row["seeds"] < 2:
            continue
        needed = row["seeds_needed"]
        needed = f"{needed:.0f}" if np.isfinite(needed) else f"over {MOST_SEEDS:,}"
        cells = {"effect": cell_text(row["value"], row["low"], row["high"])}
        cells |= {
            "found with 80 % power": f"{row['detectable']:.3f}",
            "published": f"{published:.3f}",
        }
        labels = {name: row[name] for name in ("contrast", "metric", "seeds")}
        rows.append(labels | cells | {"seeds to exclude half": needed})
    return pd.DataFrame(rows)


def equal_nats_table(gaps: pd.DataFrame) -> pd.DataFrame:
    """`snapshots.at_equal_nats`, a row per level: hybrid minus MLM-only for every metric."""
    if gaps.empty:
        return gaps
    gaps = gaps.assign(**{"nats below word frequencies": gaps["level"].map("{:.2f}".format)})
    index = ["nats below word frequencies"]
    return pivot_cells(
        gaps, index, ["metric"], interval_cells(gaps), first=("seeds",)
    ).reset_index()


def equal_loss_table(followed: pd.DataFrame) -> pd.DataFrame:
    """`plateau.at_equal_loss` with each number and its interval in one cell."""
    rho = followed[["rho", "rho_low", "rho_high"]].set_axis(["value", "low", "high"], axis=1)
    cells = [interval_cells(numbers, digits=2) for numbers in (rho, followed)]
    columns = zip(("rank correlation with nats", "the objective adds"), cells, strict=True)
    return followed[["among", "metric", "runs"]].assign(**dict(columns))


def references_table(references: pd.DataFrame) -> pd.DataFrame:
    """`contrasts.with_references`, a row per model, with its D and its number of seeds."""
    if references.empty:
        return references
    cells, references = interval_cells(references), references.rename(columns={"dim": "D"})
    wide = pivot_cells(references, ["model"], ["metric"], cells, first=("D", "seeds"))
    return wide[["D", "seeds", *SIX, "semantic_probe", "token_probe"]]


# The terminal


def summary(ends: pd.DataFrame) -> str:
    """The last lines of `make demo`: both arms in four numbers, or why they would mean nothing.

    Args:
        ends: from `contrasts.endpoints`, of every seed on disk.
    """
    parts = {
        (metric, arm): ends[(ends["condition"] == arm) & (ends["metric"] == metric)]
        for metric in _SUMMARY
        for arm in ARMS
    }
    parts = {key: part for key, part in parts.items() if len(part)}
    nats = {arm: parts[metric, arm]["value"].mean() for metric, arm in parts if metric == _NATS}
    stuck = [_ARM_TITLES[arm] for arm, value in nats.items() if value < PLATEAU]
    if stuck:
        return (
            f"No table: {' and '.join(stuck)} learned little but word frequencies "
            f"({min(nats.values()):.2f} nats below them).\nThe geometry of such a run says nothing "
            "about its objective. Train longer, or take preset demo or modern."
        )
    means = {key: mean_of_tasks(part) for key, part in parts.items()}
    rows = pd.DataFrame({key: interval.bounds for key, (interval, _) in means.items()}).T
    cells = rows.apply(lambda row: cell_text(**row, digits=2), axis=1).unstack()[[*nats]]
    cells = cells.loc[list(_SUMMARY)].rename(index=_SUMMARY, columns=_ARM_TITLES)
    seeds = seeds_text(max(count for _, count in means.values()))
    over = "texts" if seeds == "1 seed" else "seeds"
    return (
        f"{cells.to_string()}\n"
        f"{seeds} per arm, 95 % intervals over {over}, mean pooling, mean of tasks. "
        "Far below\nthe paper's scale: notebook 06 says how small a difference this can show."
    )


def _numbers(values: pd.Series) -> pd.Series:
    """Numbers without an interval; a dash for NaN."""
    return values.map(lambda value: "–" if pd.isna(value) else f"{value:.3f}")


def lab_table(facts: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    """Nats, cost and last state of each combination, and its gain over both controls, best first.

    Args:
        facts: from `contrasts.training_facts`. gaps: from `lab.contrasts`.
    """
    means = facts.assign(TFLOP=facts["flops"] / 1e12).groupby(["condition", "title"], sort=False)
    means = means.agg(
        seeds=("seed", "nunique"),
        TFLOP=("TFLOP", "mean"),
        monitor=("state", lambda states: ", ".join(states.dropna().unique()) or "–"),
        nats=("below_unigram", "mean"),
    ).reset_index()
    nats = gaps[gaps["metric"] == "below_unigram"]
    for control, title in (("hybrid", "minus hybrid"), ("mlm-flops", "minus MLM-only")):
        rows = nats[nats["against"] == control]
        marks = rows["p_corrected"].map(lambda p: " *" if p < 0.05 else "")
        cells = [f"{cell}{mark}" for cell, mark in zip(interval_cells(rows), marks, strict=True)]
        by_name = dict(zip(rows["combination"], cells, strict=True))
        means[title] = means["condition"].map(by_name).fillna("")
    means = means.sort_values("nats", ascending=False).drop(columns="condition")
    formats = {"TFLOP": "{:.1f}", "nats": "{:.2f}"}
    for column, form in formats.items():
        means[column] = means[column].map(form.format)
    return means.rename(columns={"title": "combination"})


def lab_sentences(gaps: pd.DataFrame, pulls: pd.DataFrame) -> list[str]:
    """What the laboratory says, in five sentences built from its numbers.

    Args:
        gaps: from `lab.contrasts`. pulls: from `lab.pulls`.
    """
    nats = gaps[gaps["metric"] == "below_unigram"]
    over_mlm = nats[nats["against"] == "mlm-flops"].sort_values("value")
    better, best = over_mlm[over_mlm["value"] > 0], over_mlm.iloc[-1]
    beside = gaps[gaps["against"] == "hybrid"].sort_values("value")
    learned = beside[beside["metric"] == "below_unigram"]
    other = beside[beside["metric"].isin(["uniformity", "semantic_probe"])]
    paper, strongest, worst = pulls.loc["hybrid"], pulls["share"].idxmax(), learned.iloc[0]
    variants = f"None of {len(over_mlm)} choices"
    clear, single = learned["p_corrected"] < 0.05, learned["low"] * learned["high"] > 0
    less, more = learned["value"] < 0, learned["value"] > 0
    geometry = []
    if len(other):
        passes, shown = other[other["p_corrected"] < 0.05], other[other["low"] * other["high"] > 0]
        parts = [
            f"{words} is {lower} with {_listed(rows[rows['value'] < 0])} and {higher} with "
            f"{_listed(rows[rows['value'] > 0])}"
            for metric, words, lower, higher in (
                ("uniformity", "uniformity", "lower (more uniform)", "higher"),
                ("semantic_probe", "the semantic probe", "lower", "higher"),
            )
            for rows in [shown[shown["metric"] == metric]]
        ]
        geometry = [
            f"With {_range(other['seeds'])} seeds {_listed(passes, 'no choice')} changes "
            "uniformity or the semantic probe after the same correction; by single intervals "
            f"{', '.join(parts)}."
        ]
    return [
        f"{', '.join(better['combination']) or variants} learns more than MLM-only with the "
        f"hybrid's operations; the closest is {best['combination']} ({_signed(best)} nats, "
        f"{_range(nats['seeds'])} seeds each).",
        f"Less than with the paper's objective is learned with {_listed(learned[clear & less])} "
        f"(least with {worst['combination']}: {_signed(worst)} nats), more with "
        f"{_listed(learned[clear & more])} (Student's t, p < 0.05 after Holm's correction for "
        f"{len(gaps)} differences).",
        f"By single intervals, less is also learned with {_listed(learned[~clear & single & less])}"
        f" and more with {_listed(learned[~clear & single & more])}.",
        *geometry,
        f"At the last shared layer the gradient of the paper's JEPA loss has {paper['share']:.2f} "
        f"times the norm of MLM's (cosine {paper['gradient_cosine']:.2f}); that of {strongest} "
        f"{pulls['share'].max():.1f} times.",
    ]


def _signed(row: pd.Series) -> str:
    return f"{row['value']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]".replace("-", "−")


def _listed(rows: pd.DataFrame, nothing: str = "none") -> str:
    return ", ".join(dict.fromkeys(rows["combination"])) or nothing


def _range(counts: pd.Series) -> str:
    low, high = int(counts.min()), int(counts.max())
    return str(low) if low == high else f"{low} to {high}"
