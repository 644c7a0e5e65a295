"""Executed notebooks as pages that show their figures without a kernel or a network.

nbconvert leaves plotly's mime type out and loads maths, diagrams and widgets from the network. Here
each plotly output becomes a <div>; all pages of a folder share one plotly.min.js next to them.
Formulas become MathML, which browsers draw by themselves; page and figures are dark if the browser
is. For hosts that run no scripts, figures of committed notebooks get small PNG pictures.
"""

import base64
import io
import re
import tempfile
import warnings
from pathlib import Path
from typing import ClassVar

import nbformat
import plotly.graph_objects as go
from jinja2 import pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import (
    IPythonRenderer,
    MarkdownWithMath,
    MathBlockParser,
    MathInlineParser,
)

from predrecon.data import files
from predrecon.workbook import figures
from predrecon.workbook.figures import figure_div, write_plotly_js
from predrecon.workbook.figures.gallery import PLOTLY, render, write_images

_PNG_WIDTH = 620  # pixels: the width of an output in JupyterLab in a window of 800
_PNG_COLORS = 32  # size of the palette: a tenth of the bytes
WIDGET = "application/vnd.jupyter.widget-view+json"
_TEMPLATE = (Path(figures.__file__).parent / "templates" / "notebook.html").read_text("utf-8")
_EMPTY_HEADER = re.compile(r"<th[^>]*>(?:&nbsp;)?</th>")  # pandas' corner: heads nothing
_UNREAD = re.compile(r"<m[io]>(\\\w+|&(?:amp;)?)</m[io]>")
_NOTE = "<p><em>Interactive in JupyterLab; the figures above show the same.</em></p>"


class _Block(MathBlockParser):
    """Display formulas begin a line: elsewhere `$$` may be code."""

    MULTILINE_MATH = r"(?s:^ {0,3}[$]{2}.*?(?<!\\)[$]{2})"
    SPECIFICATION: ClassVar = {**MathBlockParser.SPECIFICATION, "multiline_math": MULTILINE_MATH}


class _Inline(MathInlineParser):
    """`$...$` as code hosts read it: no blank inside its ends, no word or `$` outside."""

    TEX = r"(?s:(?<![\w$\\])\$(?=\S)(?P<math_inline_tex>(?:\\.|[^$\\])+?)(?<=\S)\$(?![\w$]))"
    SPECIFICATION: ClassVar = {**MathInlineParser.SPECIFICATION, "inline_math_tex": TEX}


class _Renderer(IPythonRenderer):
    """Formulas as MathML, tables in a box that scrolls, folded text that stays folded."""

    def block_math(self, body: str) -> str:
        return _mathml(body, "block") or super().block_math(body)

    def inline_math(self, body: str) -> str:
        return _mathml(body, "inline") or super().inline_math(body)

    def latex_environment(self, name: str, body: str) -> str:
        tex = f"\\begin{{{name}}}{body}\\end{{{name}}}"
        return _mathml(tex, "block") or super().latex_environment(name, body)

    def table(self, text: str) -> str:
        return f'<div class="wide" tabindex="0"><table>{text}</table></div>\n'

    def _html_embed_images(self, html: str) -> str:
        """Unchanged without an image: parsing piece by piece would close each tag at once."""
        return super()._html_embed_images(html) if "<img" in html else html


class _Exporter(HTMLExporter):
    """nbconvert's HTML exporter with the parsers and the renderer above."""

    @pass_context
    def markdown2html(self, context, source: str) -> str:
        renderer = _Renderer(
            escape=False,
            attachments=context.get("cell", {}).get("attachments", {}),
            embed_images=self.embed_images,
            path=context.get("resources", {}).get("metadata", {}).get("path", ""),
        )
        return MarkdownWithMath(renderer, _Block(), _Inline()).render(source)


def to_html(notebook: Path, page: Path):
    """Write an executed notebook as `page`, and plotly.min.js next to it.

    An output that is a plotly figure is shown as one, whatever else it is. A widget, which needs a
    kernel, becomes a note unless its cell also shows a plotly figure. TeX that cannot be read stays
    as it is, with a warning.
    """
    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        if "outputs" in cell:
            cell["outputs"] = _without_kernel(cell["outputs"])
    content.metadata.pop("widgets", None)
    content.metadata.setdefault("title", notebook.stem)
    exporter = _Exporter(raw_template=_TEMPLATE, embed_images=True)
    resources = {"dark": render("dark.html")}
    files.write_text(page, exporter.from_notebook_node(content, resources)[0])
    write_plotly_js(page.parent)


def _mathml(tex: str, display: str) -> str:
    """TeX as MathML; empty, with a warning, if it cannot be read."""
    read = " ".join(tex.split()).replace("{aligned}", "{split}").replace(r"\setminus", "\u2216")
    try:
        formula = convert(read, xmlns="", display=display)
        if unread := _UNREAD.search(formula):  # passed on as a name
            raise ValueError(unread[1])
    except Exception as error:  # its errors have no common base
        reason = str(error) or type(error).__name__
        warnings.warn(f"No formula: {tex.strip()!r} ({reason})", stacklevel=2)
        return ""
    formula = formula.replace(' xmlns=""', "")  # nbconvert would prefix each tag of a heading
    return f'<span class="wide" tabindex="0">{formula}</span>' if display == "block" else formula


def _without_kernel(outputs: list) -> list:
    has_figure = any(PLOTLY in output.get("data", {}) for output in outputs)
    visible = []
    for output in outputs:
        data = output.get("data", {})
        if PLOTLY in data:
            output["data"] = {"text/html": figure_div(data[PLOTLY])}
        elif WIDGET in data:
            if has_figure:
                continue
            output["data"] = {"text/html": _NOTE}
        elif "text/html" in data:
            data["text/html"] = _EMPTY_HEADER.sub("<td></td>", data["text/html"])
        visible.append(output)
    return visible


def add_images(notebook) -> int:
    """Give every plotly output of an nbformat notebook an `image/png`; returns how many.

    Without a Chromium or without Pillow nothing is added.
    """
    try:
        from PIL import Image
    except ImportError:
        return 0
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    outputs = [output for output in outputs if PLOTLY in output.get("data", {})]
    figures = [go.Figure(output["data"][PLOTLY], skip_invalid=True) for output in outputs]
    with tempfile.TemporaryDirectory() as folder:
        pictures = [Path(folder) / f"{number}.png" for number in range(len(figures))]
        if not figures or write_images(figures, pictures, width=_PNG_WIDTH):
            return 0
        for output, picture in zip(outputs, pictures, strict=True):
            png = io.BytesIO()
            Image.open(picture).convert("RGB").quantize(_PNG_COLORS).save(png, "PNG", optimize=True)
            output["data"]["image/png"] = base64.b64encode(png.getvalue()).decode() + "\n"
    return len(outputs)
