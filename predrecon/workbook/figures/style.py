"""One style for all figures: template, colours, and the marks of a model."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

# Okabe & Ito's palette, safe for colour-blind readers; the arms also differ in lightness.
COLORS = {"hybrid": "#0072B2", "mlm": "#E69F00", "untrained": "#8C8C8C", "majority": "#C4C4C4"}
COLORS |= {"published hybrid": "#7FB8D8", "published mlm": "#F5D28A"}
BRANCHES = {"context": "#0072B2", "target": "#D55E00", "masked": "#CC79A7", "unused": "#D9D9D9"}
SEQUENCE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
# Not used by arms; neighbours differ in lightness too.
CLASSES = ["#882255", "#56B4E9", "#D55E00", "#332288", "#CC79A7", "#009E73", "#999933"]
POINTS = (  # of classes and conditions
    "circle", "diamond", "cross", "square", "triangle-up", "x", "star", "triangle-down", "bowtie"
)  # fmt: skip

# For encoders that are not our arms, in the order in which they are first drawn.
_OTHERS = ["#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#332288", "#882255", "#999933"]
_NAMES = {"mlm": "MLM-only", "majority": "majority class"}
_SYMBOLS = {"hybrid": "circle", "mlm": "square"}
_GIVEN: dict[str, int] = {}
_DASHES = ("solid", "dash", "dashdot", "longdash")
_HEADER, _ENTRY = 58, 24  # height in pixels of title and caption, and of a legend row
_AXIS = dict(
    gridcolor="#EBEBEB", zeroline=False, ticks="outside", automargin=True, tickfont=dict(size=12)
)
TEMPLATE = go.layout.Template(
    layout=dict(
        font=dict(family="Helvetica, Arial, sans-serif", size=13, color="#333333"),
        title=dict(font=dict(size=15), x=0.02, xanchor="left", y=0.97, yanchor="top"),
        colorway=SEQUENCE,
        paper_bgcolor="white",
        plot_bgcolor="white",
        margin=dict(l=60, r=20, t=80, b=50),
        legend=dict(
            orientation="h",
            x=1,
            xanchor="right",
            y=1.02,
            yanchor="bottom",
            tracegroupgap=4,  # pixels between rows, part of _ENTRY
        ),
        xaxis=_AXIS | dict(title=dict(font=dict(size=13), standoff=6)),
        yaxis=_AXIS | dict(title=dict(font=dict(size=13), standoff=4)),
        polar=dict(bgcolor="white"),
        hoverlabel=dict(align="left"),
    )
)


def name(model: str) -> str:
    """A model's name in legends."""
    ours = arm(model)
    return _NAMES.get(ours, ours) + ("" if ours == model else ", published")


def arm(model: str) -> str:
    """The model whose colour this one shares: its own name without `published`."""
    return model.removeprefix("published ")


def color(model: str) -> str:
    """An arm's own colour, or one that a model keeps in all figures of this process."""
    if model not in COLORS:
        taken = _GIVEN.setdefault(model, len(_GIVEN))
        return _OTHERS[taken % len(_OTHERS)]
    return COLORS[model]


def fill(model: str) -> dict:
    """The fill of a model's bars: published ones are pale and hatched."""
    if arm(model) == model:
        return dict(color=color(model))
    hatch = dict(shape="/", fgcolor=COLORS[arm(model)], fillmode="overlay", size=6, solidity=0.3)
    return dict(color=COLORS[model], pattern=hatch)


def point(model: str, size: int = 10) -> dict:
    """The marker of a model's points: hybrid round, others not, published ones open."""
    symbol, width = _SYMBOLS.get(arm(model), "diamond"), 0
    shade = color(arm(model))
    if arm(model) in _GIVEN:
        symbol = POINTS[_GIVEN[arm(model)] % len(POINTS)]
    if arm(model) != model:
        symbol, width = f"{symbol}-open", 1.5
    return dict(color=shade, size=size, symbol=symbol, line=dict(width=width))


def stroke(model: str, width: float = 2) -> dict:
    """The style of a model's lines: published ones dotted, dashed if a colour is reused."""
    shade, turn = color(arm(model)), _GIVEN.get(arm(model), 0) // len(_OTHERS)
    dash = _DASHES[turn % len(_DASHES)] if arm(model) == model else "dot"
    return dict(color=shade, width=width, dash=dash)


def error(rows: pd.DataFrame, value: str = "value") -> dict:
    """Error bars from the columns `low` and `high`; none if these are missing."""
    up, down = (rows["high"] - rows[value]).to_numpy(), (rows[value] - rows["low"]).to_numpy()
    bars = dict(array=up, arrayminus=down, visible=bool(np.isfinite([up, down]).any()))
    return bars | dict(type="data", symmetric=False, thickness=1.2, width=3)


def wrapped(label: str) -> str:
    """A long tick label on two lines, split at a space, else at a hyphen."""
    mark, cut = (" ", "<br>") if " " in label else ("-", "-<br>")
    return label.replace(mark, cut, 1) if len(label) > 8 else label


def finish(
    fig: go.Figure, title: str, *, height: int = 420, plot: int | None = None, **layout
) -> go.Figure:
    """Template, title, legend and height; the width follows the page.

    Traces with one name share a legend entry. From the top, at fixed pixels: title, caption,
    legend, titles of panels. `height` includes one row of legend; more rows (at a width of 700
    pixels) make the figure taller. `plot` instead is the height of the panels alone.
    """
    for trace in fig.data:
        for axis in {"x", "y"} & set(trace):  # seven digits are enough for a figure
            values = trace[axis]
            if isinstance(values, np.ndarray) and values.dtype == float and len(values) > 100:
                trace[axis] = values.astype(np.float32)
    names = set()
    for trace in fig.data if len(fig.data) > 1 else ():
        if trace.name and trace.showlegend is None:
            group = trace.legendgroup or trace.name
            trace.update(showlegend=trace.name not in names, legendgroup=group)
            names.add(trace.name)
    rows = _legend_rows([trace.name for trace in fig.data if trace.showlegend])
    heads = [a for a in fig.layout.annotations if a.yref == "paper" and a.yanchor == "bottom"]
    lines = max((a.text.count("<br>") + 1 for a in heads), default=0)
    top = _HEADER + _ENTRY * rows + 16 * lines + 14
    height = plot + top + 50 if plot else height + _ENTRY * max(0, rows - 1)
    for head in heads:
        head.update(font_size=12, yshift=3)
    fig.update_layout(template=TEMPLATE, height=height, margin=dict(t=top, b=50))
    fig.update_layout(title=dict(text=title, y=1 - 12 / height))
    fig.update_layout(legend=dict(yref="container", y=1 - _HEADER / height, yanchor="top"))
    return fig.update_layout(**layout)


def _legend_rows(entries: list[str]) -> int:
    """The number of rows in a legend 620 pixels wide, from the length of its entries."""
    rows, left = 0, 0
    for entry in entries:
        needed = 45 + 7 * len(entry)
        rows, left = (rows, left - needed) if needed <= left else (rows + 1, 620 - needed)
    return rows
