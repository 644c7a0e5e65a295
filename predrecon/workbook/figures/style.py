"""One look for all figures: template, colours, and saving apart from drawing."""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from predrecon.data import paths
from predrecon.data.files import write_text
from predrecon.workbook.figures.gallery import words, write_gallery, write_page, write_plotly_js

PLOTLY = "application/vnd.plotly.v1+json"  # plotly's own mime type, drawn by JupyterLab

# Okabe & Ito's palette: told apart by colour-blind readers; the arms also differ in lightness.
COLORS = {
    "hybrid": "#0072B2",
    "mlm": "#E69F00",
    "untrained": "#8C8C8C",
    "majority": "#C4C4C4",
    "published hybrid": "#7FB8D8",
    "published mlm": "#F5D28A",
}
BRANCHES = {"context": "#0072B2", "target": "#D55E00", "masked": "#CC79A7", "unused": "#D9D9D9"}
SEQUENCE = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442"]
# No arm's; neighbours differ in lightness too.
CLASSES = ["#882255", "#56B4E9", "#D55E00", "#332288", "#CC79A7", "#009E73", "#999933"]
POINTS = (  # of classes and conditions
    "circle", "diamond", "cross", "square", "triangle-up", "x", "star", "triangle-down", "bowtie"
)  # fmt: skip

NAMES = {
    "hybrid": "hybrid",
    "mlm": "MLM-only",
    "untrained": "untrained",
    "majority": "majority class",
    "published hybrid": "hybrid, published",
    "published mlm": "MLM-only, published",
}

_SYMBOLS = {"hybrid": "circle", "mlm": "square"}
_HEADER, _ENTRY = 58, 24  # pixels that title and caption take, and a row of the legend
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
        legend=dict(orientation="h", x=1, xanchor="right", y=1.02, yanchor="bottom"),
        xaxis=_AXIS | dict(title=dict(font=dict(size=13), standoff=6)),
        yaxis=_AXIS | dict(title=dict(font=dict(size=13), standoff=4)),
        polar=dict(bgcolor="white"),
        hoverlabel=dict(align="left"),
    )
)


def name(model: str) -> str:
    """How a model is called in a legend."""
    return NAMES.get(model, model)


def error(rows: pd.DataFrame, value: str = "value") -> dict:
    """Error bars from the columns `low` and `high`; none where they are missing."""
    up, down = (rows["high"] - rows[value]).to_numpy(), (rows[value] - rows["low"]).to_numpy()
    bars = dict(array=up, arrayminus=down, visible=bool(np.isfinite([up, down]).any()))
    return bars | dict(type="data", symmetric=False, thickness=1.2, width=3)


def arm(model: str) -> str:
    """The model whose colour this one shares: its own name without `published`."""
    return model.removeprefix("published ")


def fill(model: str) -> dict:
    """How the bars of a model are filled: published ones pale and hatched."""
    if arm(model) == model:
        return dict(color=COLORS[model])
    hatch = dict(shape="/", fgcolor=COLORS[arm(model)], fillmode="overlay", size=6, solidity=0.3)
    return dict(color=COLORS[model], pattern=hatch)


def point(model: str, size: int = 10) -> dict:
    """How the points of a model are drawn: hybrid round, others not, published ones open."""
    symbol = _SYMBOLS.get(arm(model), "diamond")
    color = COLORS[arm(model)]
    if arm(model) == model:
        return dict(color=color, symbol=symbol, size=size, line=dict(width=0))
    return dict(color=color, symbol=f"{symbol}-open", size=size, line=dict(width=1.5))


def stroke(model: str, width: float = 2) -> dict:
    """How the lines of a model are drawn: published ones dotted."""
    return dict(
        color=COLORS[arm(model)], width=width, dash="solid" if arm(model) == model else "dot"
    )


def broken(labels: pd.Series) -> pd.Series:
    """Tick labels over two lines where one would be long: at a space, else at a hyphen."""

    def split(label: str) -> str:
        if len(label) <= 8:
            return label
        return label.replace(" ", "<br>", 1) if " " in label else label.replace("-", "-<br>", 1)

    return labels.map(split)


def finish(
    fig: go.Figure, title: str, *, height: int = 420, plot: int | None = None, **layout
) -> go.Figure:
    """Template, title and height; the width follows the page.

    From the top, in pixels, whatever the height: title, caption, legend, titles of panels. A legend
    that takes more than a row at 700 pixels makes the figure higher.

    Args:
        height: with one row of legend; plot: of the panels alone, in place of `height`.
    """
    rows = _legend_rows(fig)
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


def _legend_rows(fig: go.Figure, width: int = 620) -> int:
    """Rows of the legend at a width, in pixels, by the length of its entries."""
    entries = {t.name: t.showlegend for t in fig.data if t.showlegend is not False and t.name}
    if len(fig.data) == 1 and not any(entries.values()):
        return 0
    rows, left = 0, 0.0
    for entry in entries:
        needed = 45 + 7 * len(entry)
        rows, left = (rows, left - needed) if needed <= left else (rows + 1, width - needed)
    return rows


@dataclass
class Gallery:
    """Shows figures in a notebook and exports them together at its end.

    `<figures>/<tag>/<name>.html` and `.png`, and `<figures>/data/<tag>/<name>.csv`. All HTML files
    share one `<figures>/plotly.min.js`, so that they work without a network, and are listed in
    `<figures>/index.html`.

    Args:
        tag: names the comparison, e.g. `labels.tag(recipe, seed)`.
        caption: what its numbers cost, e.g. `labels.caption(recipe, seed)`; under each title.
    """

    tag: str
    caption: str = ""
    shown: dict[str, tuple[go.Figure, pd.DataFrame]] = field(default_factory=dict)

    @property
    def data_folder(self) -> Path:
        """Where the numbers behind the figures go."""
        return paths.figures_dir() / "data" / self.tag

    def show(self, stem: str, fig: go.Figure, data: pd.DataFrame, *, caption: str | None = None):
        """Display a figure and remember it, with its numbers, for `export`.

        `caption` replaces the gallery's, for a figure of fewer seeds than the others.
        """
        caption = self.caption if caption is None else caption
        if caption:
            small = dict(text=caption, font=dict(size=11, color="#777777"))
            fig.update_layout(title_subtitle=small)
        self.shown[stem] = (fig, data)
        show(fig)

    def keep(self, stem: str, table: pd.DataFrame) -> Path:
        """Write a table's numbers beside those of the figures; returns the file."""
        self.data_folder.mkdir(parents=True, exist_ok=True)
        file = self.data_folder / f"{stem}.csv"
        write_text(file, table.to_csv(index=False))
        return file

    def export(self) -> str:
        """Write everything shown so far; returns one line that says where, and what was skipped."""
        root = paths.figures_dir()
        (root / self.tag).mkdir(parents=True, exist_ok=True)
        (root / "data" / self.tag).mkdir(parents=True, exist_ok=True)
        write_plotly_js(root)
        for stem, (fig, data) in self.shown.items():
            data.to_csv(root / "data" / self.tag / f"{stem}.csv", index=False)
            write_page(root, self.tag, stem, fig)
        reason = self._write_images(root / self.tag)
        write_gallery(root)
        kinds = "HTML and CSV" if reason else "HTML, PNG and CSV"
        line = f"{len(self.shown)} figures as {kinds} in {_short(root)}/{self.tag} (and data/)"
        return f"{line}; no PNG: {reason}" if reason else line

    def _write_images(self, folder: Path) -> str:
        """PNG files, or the reason why there are none."""
        if not has_browser():
            return "no Chrome or Chromium found"
        figures = [fig for fig, _ in self.shown.values()]
        files = [folder / f"{stem}.png" for stem in self.shown]
        heights = [fig.layout.height for fig in figures]
        try:
            pio.write_images(figures, files, width=1000, height=heights, scale=1.5)
        except Exception as error:  # a browser that does not start must not cost the numbers
            return f"the browser failed ({type(error).__name__})"
        return ""


def show(fig: go.Figure):
    """Display as plotly's own mime type: a few kB in the notebook, drawn by JupyterLab."""
    from IPython.display import display

    display(bundle(fig), raw=True)


def live(fig: go.Figure, handle=None):
    """Display a figure that is redrawn in place; returns the handle for the next call."""
    from IPython.display import display

    if handle is None:
        return display(bundle(fig), raw=True, display_id=True)
    handle.update(bundle(fig), raw=True)
    return handle


def bundle(fig: go.Figure) -> dict:
    """A figure as plotly's own mime type, and a line of text for where that is not shown."""
    content = json.loads(fig.to_json())
    title = words(fig.layout.title.text) or "figure"
    return {PLOTLY: content, "text/plain": f"[figure: {title}]"}


@functools.cache
def has_browser() -> bool:
    """Whether a Chrome or Chromium is found, which PNG files need."""
    import os

    from choreographer.browsers.chromium import Chromium

    return bool(os.environ.get("BROWSER_PATH") or Chromium.find_browser(skip_local=False))


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return path.name
