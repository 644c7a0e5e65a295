"""Figures shown in a notebook, and exported as pages that need neither kernel nor network.

figures/index.html         the gallery, made anew from what lies in the folders
figures/plotly.min.js      what all pages share
figures/<tag>/<name>.html  a figure; its <title> is its caption in the gallery
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape, unescape
from pathlib import Path
from urllib.parse import quote

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

from predrecon.data import files, paths

PLOTLY = "application/vnd.plotly.v1+json"  # plotly's own mime type, drawn by JupyterLab

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<meta name="description" content="{caption}">
"""
_STYLE = """<style>
:root { color-scheme: light dark; --ground: #fff; --text: #222; --quiet: #595959; --edge: #ccc;
  --link: #005A8C; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #161616; --text: #eee; --quiet: #b0b0b0; --edge: #444; --link: #8CC8F0; } }
body { margin: 0 auto; background: var(--ground); color: var(--text);
  font: 15px/1.45 Helvetica, Arial, sans-serif; }
a { color: var(--link); }
a:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
"""
_PAGE_STYLE = """body { max-width: 1500px; }
main { background: white; border-radius: 6px; padding: 4px; }
nav { padding: 12px 16px 24px; } nav a { margin-right: 1em; }
</style>
"""
_KEYS = """<style>.menus { padding: 4px 12px; }
.menus:not(:focus-within) { position: absolute; width: 1px; height: 1px; padding: 0;
  overflow: hidden; clip-path: inset(50%); }</style>
<script>(() => {
  const box = document.currentScript.parentElement;
  const plot = box.querySelector(".plotly-graph-div");
  const lists = [...box.querySelectorAll(".menus select")];
  lists.forEach((list, n) => list.addEventListener("change", () => {
    const active = list.selectedIndex;
    const [traces, layout] = plot.layout.updatemenus[n].buttons[active].args;
    Plotly.update(plot, traces, {...layout, [`updatemenus[${n}].active`]: active});
  }));
  plot.on("plotly_buttonclicked", ({menu, active}) => lists[menu._index].selectedIndex = active);
})();</script>"""
_GALLERY_STYLE = """body { max-width: 1560px; padding: 16px 24px 48px; }
h1 { font-size: 24px; margin: 8px 0; }
h2 { font-size: 18px; margin: 36px 0 12px; overflow-wrap: anywhere; }
nav ul { padding-left: 1.2em; }
.grid { list-style: none; margin: 0; padding: 0; display: grid; gap: 20px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 340px), 1fr)); }
.grid li { border: 1px solid var(--edge); border-radius: 6px; padding: 10px; min-width: 0; }
.grid img, .none { display: flex; width: 100%; aspect-ratio: 16 / 10; object-fit: contain;
  background: white; border-radius: 3px; margin-bottom: 8px; }
.none { align-items: center; justify-content: center; color: #595959; }
p { margin: 4px 0; } .quiet { color: var(--quiet); font-size: 13px; }
</style>
"""


@dataclass
class Gallery:
    """Shows figures in a notebook and exports them together at its end.

    `<figures>/<tag>/<name>.html` and `.png`, and `<figures>/data/<tag>/<name>.csv`. All HTML files
    share one `<figures>/plotly.min.js`, so that they work without a network, and are listed in
    `<figures>/index.html`.

    Args:
        tag: names the comparison, e.g. `labels.tag(recipe, seed)`.
        caption: what its numbers cost, e.g. `labels.caption(recipe, seed)`; stands under each
            title.
    """

    tag: str
    caption: str = ""
    entries: dict[str, tuple[go.Figure, pd.DataFrame]] = field(default_factory=dict)

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
        self.entries[stem] = (fig, data)
        show(fig)

    def keep(self, stem: str, table: pd.DataFrame) -> Path:
        """Write a table's numbers beside those of the figures; returns the file."""
        self.data_folder.mkdir(parents=True, exist_ok=True)
        file = self.data_folder / f"{stem}.csv"
        files.write_text(file, table.to_csv(index=False))
        return file

    def export(self) -> str:
        """Write everything shown so far; returns one line that says where, and what was skipped."""
        root = paths.figures_dir()
        folder = root / self.tag
        folder.mkdir(parents=True, exist_ok=True)
        write_plotly_js(root)
        for stem, (fig, data) in self.entries.items():
            self.keep(stem, data)
            write_page(root, self.tag, stem, fig)
        drawn = {folder / f"{stem}.png": fig for stem, (fig, _) in self.entries.items()}
        reason = write_images(drawn.values(), drawn, width=1000, scale=1.5)
        write_gallery(root)
        place = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root.name
        kinds, note = (
            ("HTML and CSV", f"; no PNG: {reason}") if reason else ("HTML, PNG and CSV", "")
        )
        count = len(self.entries)
        return f"{count} figures as {kinds} in {place}/{self.tag} (and data/){note}"


def show(fig: go.Figure, handle=None):
    """Display as plotly's own mime type: a few kB in the notebook, drawn by JupyterLab.

    Returns a handle; given one, `show` redraws in place.
    """
    from IPython.display import display

    if handle is None:
        return display(bundle(fig), raw=True, display_id=True)
    handle.update(bundle(fig), raw=True)
    return handle


def bundle(fig: go.Figure) -> dict:
    """A figure as plotly's own mime type, and a line of text for where that is not shown."""
    title = words(fig.layout.title.text) or "figure"
    return {PLOTLY: json.loads(fig.to_json()), "text/plain": f"[figure: {title}]"}


def write_images(figures: Iterable[go.Figure], images: Iterable[Path], **size) -> str:
    """PNG files of the figures' own heights; returns why there are none, nothing if there are.

    Args:
        size: `width` in pixels, and `scale`.
    """
    from kaleido.errors import ChromeNotFoundError

    heights = [figure.layout.height or 420 for figure in figures]
    try:
        pio.write_images(list(figures), list(images), height=heights, **size)
    except Exception as error:  # a browser that does not start must not cost the numbers
        if isinstance(error.__context__, ChromeNotFoundError):
            return "no Chrome or Chromium found"
        return f"the browser failed ({type(error).__name__})"
    return ""


def write_plotly_js(folder: Path):
    """One plotly.min.js beside the pages that share it."""
    file = folder / "plotly.min.js"
    if not file.is_file():
        from plotly.offline import get_plotlyjs

        files.write_text(file, get_plotlyjs())


def words(text: str | None) -> str:
    """A title without plotly's tags, in one line."""
    return " ".join(unescape(re.sub(r"</?[a-z][^<>]*>", " ", text or "")).split())


def figure_div(figure: go.Figure | dict) -> str:
    """A figure as HTML that finds plotly.js loaded; screen readers get its title.

    plotly's menus take no keys: beside them stand lists of the same choices, seen when focused.

    Args:
        figure: or its content under plotly's mime type.
    """
    layout = (figure if isinstance(figure, dict) else figure.to_plotly_json()).get("layout", {})
    title = layout.get("title") or {}
    label = words(title if isinstance(title, str) else title.get("text")) or "figure"
    config = dict(responsive=True, displaylogo=False)
    div = pio.to_html(
        figure, include_plotlyjs=False, full_html=False, validate=False, config=config
    )
    lists = "".join(_list(menu) for menu in layout.get("updatemenus") or ())
    drawn = f'<div role="img" aria-label="{escape(label)}">{div}</div>'
    return f'<div><div class="menus">{lists}</div>{drawn}{_KEYS}</div>' if lists else drawn


def _list(menu: dict) -> str:
    """The choices of a plotly menu as a labelled list."""
    options = "".join(f"<option>{escape(b['label'])}</option>" for b in menu["buttons"])
    return f"<label>{escape(menu.get('name', 'Choice'))} <select>{options}</select></label> "


def write_page(root: Path, tag: str, name: str, fig: go.Figure):
    """`<root>/<tag>/<name>.html`, with links to the gallery and to the numbers."""
    title, caption = words(fig.layout.title.text), words(fig.layout.title.subtitle.text)
    head = _HEAD.format(title=escape(title or name), caption=escape(caption))
    script = '<script src="../plotly.min.js" charset="utf-8"></script>\n</head>\n<body>\n<main>\n'
    links = f'<nav><a href="../index.html">All figures</a>{_numbers(root, tag, name, "../")}</nav>'
    body = f"{figure_div(fig)}\n</main>\n{links}\n</body>\n</html>\n"
    files.write_text(root / tag / f"{name}.html", head + _STYLE + _PAGE_STYLE + script + body)


def write_gallery(root: Path):
    """`<root>/index.html`: every figure of every tag that lies there, with its one-line caption.

    It is read off the folders, so that it neither forgets a figure nor shows one that is gone.
    """
    contents, sections, count = "", "", 0
    for folder in sorted(root.iterdir()):
        if not folder.is_dir() or folder.name == "data" or folder.name.startswith("."):
            continue
        names = sorted({f.stem for f in folder.iterdir() if f.suffix in (".html", ".png")})
        if names:
            tag, count = escape(folder.name), count + len(names)
            cards = "\n".join(_card(root, folder.name, name) for name in names)
            contents += f'<li><a href="#{quote(folder.name)}">{tag}</a>, {len(names)}</li>\n'
            sections += f'<section id="{tag}" aria-label="{tag}">\n<h2>{tag}</h2>\n'
            sections += f'<ul class="grid">\n{cards}\n</ul>\n</section>\n'
    head = _HEAD.format(title="Figures", caption="All exported figures.") + _STYLE + _GALLERY_STYLE
    body = (
        f"</head>\n<body>\n<header>\n<h1>Figures</h1>\n<p>{count} figures, grouped by the runs "
        "that they show. A picture opens its interactive page: hover, legend, menus.</p>\n"
        f'<nav aria-label="Groups"><ul>\n{contents}</ul></nav>\n</header>\n'
        f"<main>\n{sections}</main>\n</body>\n</html>\n"
    )
    files.write_text(root / "index.html", head + body)


def _card(root: Path, tag: str, name: str) -> str:
    page, image = root / tag / f"{name}.html", root / tag / f"{name}.png"
    head = page.read_text(encoding="utf-8", errors="replace")[:4000] if page.is_file() else ""
    title = re.search(r"<title>(.*?)</title>", head, re.DOTALL)
    title = (title and title[1]) or escape(name.replace("_", " "))
    caption = re.search(r'<meta name="description" content="(.*?)">', head, re.DOTALL)
    target = quote(f"{tag}/{(page if page.is_file() else image).name}")
    picture = '<span class="none" aria-hidden="true">no preview</span>'
    if image.is_file():
        source = quote(f"{tag}/{image.name}")
        picture = f'<img src="{source}" alt="Preview: {title}" loading="lazy">'
    kind = "" if page.is_file() else ", picture only"
    small = escape(name) + kind + (f" · {caption[1]}" if caption and caption[1] else "")
    return (
        f'<li><a href="{target}">{picture}{title}</a>\n'
        f'<p class="quiet">{small}{_numbers(root, tag, name, "", " · ")}</p></li>'
    )


def _numbers(root: Path, tag: str, name: str, up: str, between: str = "") -> str:
    """A link to the numbers behind a figure, where they are kept."""
    if not (root / "data" / tag / f"{name}.csv").is_file():
        return ""
    return f'{between}<a href="{up}{quote(f"data/{tag}/{name}.csv")}">numbers (CSV)</a>'
