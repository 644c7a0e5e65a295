"""Figures shown in a notebook, and exported as pages that need neither kernel nor network.

figures/index.html         the gallery, rebuilt from what is in the folders
figures/plotly.min.js      shared by all pages
figures/<tag>/<name>.html  a figure (and .png); its <title> is its caption in the gallery
figures/data/<tag>/<name>.csv  the numbers behind it
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import jinja2
import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio
import psutil

from predrecon.data import files, paths
from predrecon.data.progress import one_line
from predrecon.workbook.figures.menus import as_printed, switchable

PLOTLY = "application/vnd.plotly.v1+json"  # plotly's own mime type, drawn by JupyterLab

PATIENCE = 90  # seconds to wait for a picture
_DRAW = """
import json, pathlib, sys
import plotly.io as pio
from kaleido.errors import ChromeNotFoundError

folder, reason = pathlib.Path(sys.argv[1]), ""
figures, images, options = json.loads((folder / "work.json").read_text())
try:
    pio.write_images(figures, images, **options)
except Exception as error:
    reason = f"the browser failed ({type(error).__name__})"
    if isinstance(error.__context__, ChromeNotFoundError):
        reason = "no Chrome or Chromium found"
(folder / "reason").write_text(reason)
"""

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    trim_blocks=True,
)


@dataclass
class Gallery:
    """Shows figures in a notebook and exports them together at its end.

    Args:
        tag: names the comparison, e.g. `labels.tag(recipe, seed)`.
        caption: the cost of its numbers, e.g. `labels.caption(recipe, seed)`, under each title.
        root: the folder of all galleries; default `paths.figures_dir()`.
    """

    tag: str
    caption: str = ""
    entries: dict[str, tuple[go.Figure, pd.DataFrame]] = field(default_factory=dict)
    root: Path | None = None

    @property
    def data_folder(self) -> Path:
        """Where the numbers behind the figures go."""
        return (self.root or paths.figures_dir()) / "data" / self.tag

    def show(self, stem: str, fig: go.Figure, data: pd.DataFrame, *, caption: str | None = None):
        """Display a figure and `add` it."""
        self.add(stem, fig, data, caption=caption)
        show(fig)

    def show_each(self, pictures: dict[str, tuple[str, go.Figure, pd.DataFrame]], label: str):
        """`add` each `(stem, figure, data)`, and display one figure with a menu of the choices."""
        for stem, fig, data in pictures.values():
            self.add(stem, fig, data)
        copies = {choice: go.Figure(fig) for choice, (_, fig, _) in pictures.items()}
        show(switchable(copies, label) if len(copies) > 1 else next(iter(copies.values())))

    def add(self, stem: str, fig: go.Figure, data: pd.DataFrame, *, caption: str | None = None):
        """Remember a figure for `export`; its numbers are written at once.

        `caption` replaces the gallery's, for a figure with fewer seeds than the others.
        """
        caption = self.caption if caption is None else caption
        if caption:
            small = dict(text=caption, font=dict(size=11, color="#777777"))
            fig.update_layout(title_subtitle=small)
        self.entries[stem] = (fig, data)
        with contextlib.suppress(OSError):  # `export` says so
            self.keep(stem, data)

    def keep(self, stem: str, table: pd.DataFrame) -> Path:
        """Write a table's numbers next to those of the figures; returns the file."""
        if self.root is None:
            paths.figures_dir(write=True)
        self.data_folder.mkdir(parents=True, exist_ok=True)
        file = self.data_folder / f"{stem}.csv"
        files.write_text(file, table.to_csv(index=False))
        return file

    def export(self) -> str:
        """Write everything shown so far; returns one line that says where, and what was skipped.

        A failure here is not an error: what a notebook has computed stays usable.
        """
        try:
            root = self.root or paths.figures_dir(write=True)
            (root / self.tag).mkdir(parents=True, exist_ok=True)
            write_plotly_js(root)
        except (OSError, RuntimeError) as error:
            return f"No figures exported: {one_line(error)}"
        written, failed = {}, []
        for stem, (fig, data) in self.entries.items():
            try:
                self.keep(stem, data)
                write_page(root, self.tag, stem, fig)
                written[root / self.tag / f"{stem}.png"] = fig
            except Exception as error:  # a figure is data: anything may be wrong with it
                failed.append(f"{stem} ({one_line(error)})")
        if reason := write_images(written.values(), written, width=1000, scale=1.5):
            failed.append(f"no PNG: {reason}")
        try:
            write_gallery(root)
        except Exception as error:
            failed.append(f"index.html ({one_line(error)})")
        place = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) else root.name
        kinds = "HTML and CSV" if reason else "HTML, PNG and CSV"
        line = f"{len(written)} figures as {kinds} in {place}/{self.tag} (and data/)"
        return "; ".join([line, *failed])


def show(fig: go.Figure, handle=None):
    """Display a figure (a few kB in the notebook); returns a handle. With one, redraw in place."""
    from IPython.display import display

    if handle is None:
        return display(bundle(fig), raw=True, display_id=True)
    handle.update(bundle(fig), raw=True)
    return handle


def bundle(fig: go.Figure) -> dict:
    """A figure as plotly's own mime type, and a line of text for viewers without it."""
    title = words(fig.layout.title.text) or "figure"
    return {PLOTLY: json.loads(fig.to_json()), "text/plain": f"[figure: {title}]"}


def write_images(figures: Iterable[go.Figure], images: Iterable[Path], **size) -> str:
    """PNG files with the figures' own heights; `size` is `width` in pixels, and `scale`.

    Returns the reason if there are none, else an empty string. The browser runs in its own process,
    which is killed if no picture comes for `PATIENCE` seconds.
    """
    figures, images = list(figures), [str(image) for image in images]
    heights = [figure.layout.height or 420 for figure in figures]
    if not figures:
        return ""
    try:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            work = [[json.loads(as_printed(figure).to_json()) for figure in figures], images]
            (Path(folder) / "work.json").write_text(json.dumps([*work, size | {"height": heights}]))
            return _draw(folder, images)
    except Exception as error:  # no temporary folder, or a figure that is not JSON
        return one_line(error)


def _draw(folder: str, images: list[str]) -> str:
    quiet = dict(stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    environment = os.environ | {"TMPDIR": folder}
    try:
        Path.home()
    except RuntimeError:  # a user without a name and without HOME
        environment["HOME"] = folder
    command = [sys.executable, "-P", "-c", _DRAW, folder]
    process = psutil.Popen(command, env=environment, **quiet)
    drawn, since = None, time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(0.1)
            state = [os.path.getmtime(image) for image in images if os.path.isfile(image)]
            if state != drawn:
                drawn, since = state, time.monotonic()
            if time.monotonic() - since > PATIENCE:
                return f"the browser did not answer for {PATIENCE} s"
    finally:
        _end(process)
        for image in map(Path, images):
            if image.is_file() and not image.stat().st_size:  # created, never drawn
                image.unlink()
    reason = Path(folder) / "reason"
    return reason.read_text(encoding="utf-8") if reason.is_file() else "the browser failed"


def _end(process: psutil.Popen):
    """Kill a process and its children, whatever session they are in."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [*process.children(recursive=True), process]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
    process.wait()


def write_plotly_js(folder: Path):
    """One plotly.min.js next to the pages that share it."""
    file = folder / "plotly.min.js"
    if not file.is_file():
        files.write_text(file, plotly_js())


def plotly_js() -> str:
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def words(text: str | None) -> str:
    """A title without plotly's tags, in one line."""
    return " ".join(unescape(re.sub(r"</?[a-z][^<>]*>", " ", text or "")).split())


def figure_div(figure: go.Figure | dict) -> str:
    """A figure as HTML for a page that loads plotly.js; screen readers get its title.

    plotly's menus ignore the keyboard, so lists of the same choices appear when focused.

    Args:
        figure: a figure, or its content under plotly's mime type.
    """
    layout = (figure if isinstance(figure, dict) else figure.to_plotly_json())["layout"]
    title, menus = layout.get("title", {}).get("text"), layout.get("updatemenus", ())
    options = dict(include_plotlyjs=False, full_html=False, validate=False)
    div = pio.to_html(figure, config=dict(responsive=True, displaylogo=False), **options)
    return render("div.html", div=div, label=words(title) or "figure", menus=menus)


def render(template: str, **values) -> str:
    """A page or a part of one from `templates/`."""
    return _TEMPLATES.get_template(template).render(values)


def write_page(root: Path, tag: str, name: str, fig: go.Figure):
    """`<root>/<tag>/<name>.html`, with links to the gallery and to the numbers."""
    title, caption = words(fig.layout.title.text), words(fig.layout.title.subtitle.text)
    values = dict(title=title or name, caption=caption, figure=figure_div(fig))
    page = render("figure.html", **values, numbers=_if_there(root, f"data/{tag}/{name}.csv"))
    files.write_text(root / tag / f"{name}.html", page)


def write_gallery(root: Path):
    """`<root>/index.html`: every figure in the folders, with its caption."""
    groups = {}
    for folder in sorted(f for f in root.glob("[!.]*") if f.is_dir() and f.name != "data"):
        names = sorted({f.stem for f in folder.iterdir() if f.suffix in (".html", ".png")})
        if names:
            groups[folder.name] = [_card(root, folder.name, name) for name in names]
    facts = dict(title="Figures", caption="All exported figures.")
    files.write_text(root / "index.html", render("gallery.html", **facts, groups=groups))


def _card(root: Path, tag: str, name: str) -> dict[str, str]:
    """What the gallery shows of a figure; empty strings for missing files."""
    page, image = (_if_there(root, f"{tag}/{name}.{kind}") for kind in ("html", "png"))
    head = (root / page).read_text(encoding="utf-8", errors="replace")[:4000] if page else ""
    title = re.search(r"<title>(.*?)</title>", head, re.DOTALL)
    caption = re.search(r'<meta name="description" content="(.*?)">', head, re.DOTALL)
    title, caption = (unescape(match[1]) if match else "" for match in (title, caption))
    card = dict(name=name, title=title or name.replace("_", " "), caption=caption)
    return card | dict(page=page, image=image, numbers=_if_there(root, f"data/{tag}/{name}.csv"))


def _if_there(root: Path, file: str) -> str:
    return file if (root / file).is_file() else ""
