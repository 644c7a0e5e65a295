"""Geometry explorer (notebook 05)."""

import numpy as np
import pandas as pd

from predrecon.audit.geometry import (
    Geometry,
    published_geometry,
    published_spectra,
    seed_spectra,
)
from predrecon.audit.statistics import Interval, seeds_text
from predrecon.workbook.figures.explorers import CONVENTIONS, geometry_view
from predrecon.workbook.figures.panels import titled
from predrecon.workbook.figures.style import name
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Picture

_MEAN = "mean of seeds"


def geometry_explorer(found: Geometry) -> Explorer:
    """Task, pooling, arms, seed and convention at choice: spectra, alignment, uniformity, table.

    Args:
        found: `geometry.measure_all`, of one or several seeds.
    """
    table, spectra = found.table, seed_spectra(found)
    theirs = published_geometry().assign(low=float("nan"), high=float("nan"))
    curves = published_spectra()
    titles = dict(zip(table["task"], table["title"], strict=True))
    poolings, models = list(table["pooling"].unique()), list(table["model"].unique())
    seeds = sorted(table["seed"].unique().tolist())

    def draw(task, pooling, arms, seed, convention, components, scale, published) -> Picture:
        if not arms:
            raise ValueError("No arm is chosen: choose one or several (Ctrl or Shift and click).")
        shown = CONVENTIONS[convention]
        mine = _of(table, task, pooling, arms)
        lines = _of(spectra, task, pooling, arms)
        mine = mine[mine["metric"].isin(shown)]
        if seed == _MEAN:
            numbers = seeds.over_seeds(mine)
            lines = lines.groupby(["model", "rank"], sort=False, as_index=False).mean(
                numeric_only=True
            )
        else:
            numbers = mine[mine["seed"] == seed].assign(seeds=1)
            lines = lines[lines["seed"] == seed]
        if numbers.empty:
            raise ValueError(f"Seed {seed}: not trained for {', '.join(map(name, arms))}.")
        lost = [name(arm) for arm in arms if arm not in set(numbers["model"])]
        told = f"<p>Not here with seed {seed}: {', '.join(lost)}.</p>" if lost else ""
        if published:
            asked = [f"published {arm}" for arm in arms]
            extra = _of(theirs.assign(model="published " + theirs["model"]), task, pooling, asked)
            numbers = pd.concat([numbers, extra[extra["metric"].isin(shown)]])
            lines = pd.concat([lines, _of(curves, task, pooling, asked)])
            unknown = [titled(m, " ") for m in shown if m not in set(extra["metric"])]
            if extra.empty:
                told += "<p>Nothing is published for this task.</p>"
            elif unknown:
                told += f"<p>Not published: {', '.join(unknown)}.</p>"
        heading = f"{titles[task]}, {pooling} pooling"
        alignment = "alignment_squared" if "alignment_squared" in shown else "alignment"
        ways = {"components": components, "log": scale == "log", "alignment": alignment}
        figure = geometry_view(lines, numbers, heading, **ways)
        label = f"{heading}: " + "; ".join(
            f"{name(row.model)} {row.metric.replace('_', ' ')} {row.value:.3f}"
            for row in numbers.itertuples() if row.metric in ("uniformity", "effective_rank")
        )  # fmt: skip
        return Picture(figure, below=told + _table(numbers, shown), label=label)

    most = int(spectra["rank"].max())
    chosen = {
        "task": controls.choice("Task", [(v, k) for k, v in titles.items()], "data set"),
        "pooling": controls.buttons("Pooling", poolings, "token vectors to one vector a text"),
        "arms": controls.several("Arms", [(name(m), m) for m in models], "encoders to compare"),
        "seed": controls.choice("Seed", [_MEAN, *seeds], "of pre-training"),
        "convention": controls.choice("Metrics by", CONVENTIONS, "whose definitions"),
        "components": controls.number(
            "Components", min(5, most), most, "principal components shown", value=min(50, most)
        ),
        "scale": controls.buttons("Share axis", ["log", "linear"], "axis of the left panel"),
        "published": controls.tick("published values", "the paper's numbers as an overlay"),
    }
    title = "Eigenspectra, alignment and uniformity (mean of seeds)"
    return Explorer(draw, chosen, menus=("task", "pooling"), title=title)


def _of(table: pd.DataFrame, task: str, pooling: str, models) -> pd.DataFrame:
    same = (table["task"] == task) & (table["pooling"] == pooling)
    return table[same & table["model"].isin(models)]


def _table(numbers: pd.DataFrame, shown: tuple[str, ...]) -> str:
    """Metrics in rows, models in columns, with intervals; each column says what they are over."""
    cells = {
        (row.metric, row.model): _cell(row.value, row.low, row.high) for row in numbers.itertuples()
    }
    heads = {m: _head(m, rows) for m, rows in numbers.groupby("model", sort=False)}
    rows = [m for m in shown if any((m, model) in cells for model in heads)]
    wide = pd.DataFrame(
        {head: [cells.get((m, model), "–") for m in rows] for model, head in heads.items()},
        index=[titled(m, " ") for m in rows],
    )
    table = wide.to_html(border=0, classes="predrecon-table predrecon-numbers")
    return f'<div class="predrecon-scroll">{table}</div><small>95 % intervals</small>'


def _cell(value: float, low: float, high: float) -> str:
    if not np.isfinite(value):
        return "–"
    published = np.isnan(low)  # the paper gives no interval, which its column's head says
    return f"{value:.3f}" if published else Interval(value, low, high, 1).text()


def _head(model: str, rows: pd.DataFrame) -> str:
    """A column's name, and what its intervals are over."""
    if model.startswith("published"):
        return name(model)
    seeds = int(rows["seeds"].max())
    texts = f"n = {int(rows['n'].max()):,}"
    return f"{name(model)} ({texts}, {'over ' if seeds > 1 else ''}{seeds_text(seeds)})"
