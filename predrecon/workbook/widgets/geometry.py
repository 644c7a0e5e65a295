"""Geometry explorer (notebook 05)."""

import html
import re

import numpy as np
import pandas as pd

from predrecon.audit.geometry import Geometry, published_geometry, published_spectra, seed_spectra
from predrecon.audit.seeds import over_seeds
from predrecon.workbook.figures.geometry import geometry_view
from predrecon.workbook.figures.panels import titled
from predrecon.workbook.figures.style import name
from predrecon.workbook.tables import cell_text, seeds_text
from predrecon.workbook.widgets.controls import buttons, choice, multiple, number, tick
from predrecon.workbook.widgets.explorer import Explorer, Picture

_MEAN = "mean of seeds"
_FIRST = (
    "choose another <i>Pooling</i> and watch whether the arms keep their order in each panel; "
    "set <i>Share axis</i> to linear: the first components take most of what the logarithm spreads "
    "out; set <i>Metrics by</i> to the literature: the same vectors under other definitions."
)
_BY_LAYER = "The lower row follows the texts through the layers: look where the lines part."
_PROBES = ("semantic_probe", "token_probe", "probe_gap")
_SHARED = ("effective_rank", "stable_rank", "uniformity", *_PROBES)
CONVENTIONS = {
    "the paper's equations": ("spectral_entropy", "alignment", *_SHARED),
    "the paper's tables": ("spectral_entropy_sigma2", "alignment_by_class", *_SHARED),
    "the literature": (
        "rankme", "rank_90", "effective_rank", "alignment_squared", "pair_alignment",
        "intra_inter_ratio", "uniformity", *_PROBES,
    ),
}  # fmt: skip
"""The metrics shown under each convention."""


def geometry_explorer(geometry: Geometry, layers: pd.DataFrame | None = None) -> Explorer:
    """Choose task, pooling, arms, seed and convention: spectra, alignment, uniformity, table.

    Args:
        geometry: `geometry.measure_all`, of one or several seeds.
        layers: `by_layer.geometry_by_layer` of the same encoders, for a row by layer.
    """
    table, spectra = geometry.table, seed_spectra(geometry)
    titles = dict(zip(table["task"], table["title"], strict=True))
    theirs, curves = published_geometry(), published_spectra()
    theirs = theirs.assign(low=np.nan, high=np.nan, title=theirs["task"].map(titles))
    theirs["model"] = "published " + theirs["model"]
    models, poolings = list(table["model"].unique()), list(table["pooling"].unique())
    seeds = sorted(table["seed"].unique().tolist())

    def draw(task, pooling, arms, seed, convention, components, scale, published) -> Picture:
        if not arms:
            raise ValueError("No arm is chosen: choose one or several (Ctrl or Shift and click).")
        metrics = CONVENTIONS[convention]
        numbers, lines = (_rows(each, task, pooling, arms) for each in (table, spectra))
        numbers = numbers[numbers["metric"].isin(metrics)]
        if seed == _MEAN:
            numbers = over_seeds(numbers)
            ranks = lines.groupby(["model", "rank"], sort=False, as_index=False)
            lines = ranks.mean(numeric_only=True)
        else:
            numbers = numbers[numbers["seed"] == seed].assign(seeds=1)
            lines = lines[lines["seed"] == seed]
        if numbers.empty:
            raise ValueError(f"Seed {seed}: not trained for {', '.join(map(name, arms))}.")
        missing = [name(arm) for arm in arms if arm not in set(numbers["model"])]
        notes = f"<p>Not here with seed {seed}: {', '.join(missing)}.</p>" if missing else ""
        if published:
            twins = [f"published {arm}" for arm in arms]
            extra = _rows(theirs, task, pooling, twins)
            numbers = pd.concat([numbers, extra[extra["metric"].isin(metrics)]])
            lines = pd.concat([lines, _rows(curves, task, pooling, twins)])
            unpublished = [titled(m, " ") for m in metrics if m not in set(extra["metric"])]
            if extra.empty:
                notes += "<p>Nothing is published for this task.</p>"
            elif unpublished:
                notes += f"<p>Not published: {', '.join(unpublished)}.</p>"
        heading = f"{titles[task]}, {pooling} pooling"
        alignment = next(metric for metric in metrics if metric.startswith("alignment"))
        options = dict(components=components, log=scale == "log", alignment=alignment)
        if layers is not None:
            options["layers"] = _rows(layers, task, pooling, arms)
            if options["layers"].empty:
                measured = ", ".join(layers["pooling"].unique())
                notes += f"<p>By layer, only {measured} pooling was measured.</p>"
        figure = geometry_view(lines, numbers, heading, **options)
        label = f"{heading}: " + "; ".join(
            f"{name(row.model)} {row.metric.replace('_', ' ')} {row.value:.3f}"
            for row in numbers.itertuples() if row.metric in ("uniformity", "effective_rank")
        )  # fmt: skip
        return Picture(figure, numbers=_table(numbers, metrics) + notes, label=label)

    most, arms = int(spectra["rank"].max()), [(name(m), m) for m in models]
    chosen = {
        "task": choice("Task", [(v, k) for k, v in titles.items()], "data set"),
        "pooling": buttons("Pooling", poolings, "token vectors to one vector a text"),
        "arms": multiple("Arms", arms, "encoders to compare", models),
        "seed": choice("Seed", [_MEAN, *seeds], "of pre-training"),
        "convention": choice("Metrics by", list(CONVENTIONS), "whose definitions"),
        "components": number(
            "Components", min(5, most), most, "principal components shown", min(50, most)
        ),
        "scale": buttons("Share axis", ["log", "linear"], "axis of the left panel"),
        "published": tick("published values", "the paper's numbers as an overlay"),
    }
    first = _FIRST if layers is None else f"{_FIRST} {_BY_LAYER}"
    return Explorer(draw, chosen, first, menus=("task", "pooling"))


def _rows(table: pd.DataFrame, task: str, pooling: str, models: list[str]) -> pd.DataFrame:
    same = (table["task"] == task) & (table["pooling"] == pooling)
    return table[same & table["model"].isin(models)]


def _table(numbers: pd.DataFrame, metrics: tuple[str, ...]) -> str:
    """Metrics in rows, models in columns, with intervals; each column says what these are over."""
    heads = {}
    for model, rows in numbers.groupby("model", sort=False):
        heads[model] = html.escape(name(model))
        if not model.startswith("published"):  # the paper gives no intervals
            seeds = int(rows["seeds"].max())
            basis = f"over {seeds_text(seeds)}" if seeds > 1 else seeds_text(seeds)
            heads[model] += f" (n = {int(rows['n'].max()):,}, {basis})"
    texts = map(cell_text, numbers["value"], numbers["low"], numbers["high"])
    texts = [re.sub(r" (\[.*\])", r"<br><small>\1</small>", text) for text in texts]
    cells = numbers.assign(cell=texts).pivot(index="metric", columns="model", values="cell")
    cells = cells.reindex([m for m in metrics if m in cells.index], columns=list(heads)).fillna("–")
    wide = cells.rename(index=lambda m: titled(m, " "), columns=heads)
    wide = wide.rename_axis(index=None, columns=None)
    table = wide.to_html(border=0, escape=False, classes="predrecon-table predrecon-right")
    return f'<div class="predrecon-scroll">{table}</div><small>95 % intervals</small>'
