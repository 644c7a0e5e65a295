"""Many figures in one, switched by plotly's own menu: no kernel, no network."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

_BAND = 78  # extra pixels above the plots, for the menu and one more row of legend
_TITLE = 66  # pixels from the top that title and subtitle take


def switchable(figures: dict[str, go.Figure], label: str) -> go.Figure:
    """One figure with a menu, named `label`, instead of one figure per choice; shows the first.

    A choice shows its own traces, and sets what differs in the layouts: titles, ranges, kinds of
    axes. Numbers are in single precision: they are most of the size of pages and notebooks.
    """
    if not figures:
        raise ValueError(f"The menu {label!r} has no choices: expected a figure or more.")
    choices, figures = list(figures), list(figures.values())
    heights = [_make_room(figure) for figure in figures]
    # plotly.js repeats a list that is shorter than the traces: with interleaved traces a choice is
    # one True, however many traces there are
    nothing = go.Scatter(showlegend=False)
    turns = itertools.zip_longest(*(figure.data for figure in figures), fillvalue=nothing)
    traces = [_single(trace.to_plotly_json()) for turn in turns for trace in turn]
    for number, trace in enumerate(traces):
        trace["visible"] = number % len(figures) == 0
    visible = np.eye(len(figures), dtype=bool).tolist()
    buttons = [
        dict(label=option, method="update", args=[dict(visible=flags), settings])
        for option, flags, settings in zip(choices, visible, _settings(figures), strict=True)
    ]
    look = dict(bgcolor="white", bordercolor="#999999", font=dict(size=12, color="#333333"))
    place = dict(x=0, xanchor="left", y=heights[0], yanchor="top", pad=dict(t=0))
    fig = go.Figure(traces, figures[0].layout)
    return fig.update_layout(updatemenus=[dict(name=label, buttons=buttons, **place, **look)])


def as_printed(fig: go.Figure) -> go.Figure:
    """The figure for a picture, where no menu opens: each menu becomes "label: choice"."""
    printed = go.Figure(fig)
    for menu in fig.layout.updatemenus:
        place = dict(x=menu.x, y=menu.y, xref="paper", yref="paper", xanchor="left", yanchor="top")
        text = f"{menu.name}: {menu.buttons[max(menu.active or 0, 0)].label}"
        printed.add_annotation(text=text, showarrow=False, font_size=13, **place)
    return printed.update_layout(updatemenus=[], overwrite=True)


def _single(tree):
    """A trace with its numbers in single precision."""
    if isinstance(tree, dict):
        return {key: _single(value) for key, value in tree.items()}
    return tree.astype(np.float32) if getattr(tree, "dtype", None) == np.float64 else tree


def _make_room(fig: go.Figure) -> float:
    """Make room for the menu between title and legend; returns its place, as a share of the plots.

    Long tick labels shrink the plots and lower the menu by a few pixels.
    """
    height, top = (fig.layout.height or 450) + _BAND, (fig.layout.margin.t or 80) + _BAND
    legend = dict(yref="container", y=1 - (_TITLE + 48) / height, yanchor="top")
    fig.update_layout(title=dict(y=1 - 12 / height, yanchor="top"), legend=legend)
    fig.update_layout(height=height, margin_t=top)
    return 1 + (top - _TITLE) / (height - top - (fig.layout.margin.b or 60))


def _settings(figures: list[go.Figure]) -> list[dict[str, Any]]:
    """What a choice sets: all that differs, and every axis, so that no earlier zoom stays."""
    layouts = [_flat(figure.layout) for figure in figures]
    axes = {path.split(".")[0] for layout in layouts for path in layout if path[1:5] == "axis"}
    for layout, axis in itertools.product(layouts, axes):
        if f"{axis}.range" not in layout:
            layout.setdefault(f"{axis}.autorange", True)
    ranges = {f"{axis}.{key}" for axis in axes for key in ("range", "autorange")}
    paths = dict.fromkeys(path for layout in layouts for path in layout)
    differing = [p for p in paths if any(layout.get(p) != layouts[0].get(p) for layout in layouts)]
    return [
        {path: layout.get(path) for path in differing if path not in ranges}
        | {path: layout[path] for path in paths if path in ranges and path in layout}
        for layout in layouts
    ]


def _flat(layout: go.Layout) -> dict[str, Any]:
    """`{"xaxis.title.text": ...}`, as plotly's relayout names attributes; no template."""
    tree = layout.to_plotly_json()
    tree.pop("template", None)
    return pd.json_normalize(tree).to_dict("records")[0]
