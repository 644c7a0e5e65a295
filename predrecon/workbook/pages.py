"""Executed notebooks as pages that show their figures without a kernel or a network.

nbconvert leaves plotly's mime type out and links maths, diagrams and widgets to the network. Here
each plotly output becomes a <div>; all pages of a folder share one plotly.min.js beside them.
Formulas become MathML, which browsers draw by themselves. For hosts that run no scripts, figures of
committed notebooks get small PNG pictures.
"""

import base64
import io
import re
import tempfile
from pathlib import Path

import plotly.graph_objects as go

from predrecon.data import files
from predrecon.workbook.figures import figure_div, write_plotly_js
from predrecon.workbook.figures.gallery import PLOTLY, write_images

_PNG_WIDTH = 700  # pixels
_PNG_COLORS = 32  # of a palette: a tenth of the bytes
WIDGET = "application/vnd.jupyter.widget-view+json"
_NOTE = "<p><em>Interactive in JupyterLab; the figures above show the same.</em></p>"
_TEX = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)"  # no formulas in there
    r"|\$\$(?P<block>.+?)\$\$"
    r"|(?<![\w\\$])\$(?P<inline>[^\s$](?:[^$]*?[^\s$])?)\$(?![\w$])",
    re.DOTALL,
)
# Below 1000 pixels the prompts give their place to code and tables; what is still wider scrolls.
_TEMPLATE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_css -%}{{ super() }}<style>
.jp-OutputArea-output, .jp-InputArea .highlight pre { overflow-x: auto; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { padding: 0.25em 0.5em; }
@media (max-width: 1000px) {
  .jp-InputPrompt, .jp-OutputPrompt { display: none; }
  body.jp-Notebook { padding: 8px; }
  .highlight pre, .jp-RenderedText pre { font-size: 12px; }
  .jp-RenderedHTMLCommon table { font-size: 11px; }
  .jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th { padding: 0.25em 0.35em; }
}
</style>{%- endblock -%}
{%- block html_head_js -%}<script src="plotly.min.js" charset="utf-8"></script>{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""


def to_html(notebook: Path, page: Path):
    """Write an executed notebook as `page`, and plotly.min.js beside it.

    An output that is a plotly figure is shown as one, whatever else it is; a widget, which needs a
    kernel, leaves a note unless its cell shows a plotly figure too.
    """
    import nbformat
    from nbconvert import HTMLExporter

    content, formulas = nbformat.read(notebook, as_version=4), []

    def aside(formula: re.Match) -> str:
        """A mark in the formula's place: nbconvert would close each of its tags at once."""
        formulas.append(_mathml(formula))
        return f"formula{len(formulas) - 1}mark" if "<math" in formulas[-1] else formula[0]

    for cell in content.cells:
        if "outputs" in cell:
            cell["outputs"] = _without_kernel(cell["outputs"])
        if cell.cell_type == "markdown":
            cell["source"] = _TEX.sub(aside, cell["source"])
    content.metadata.pop("widgets", None)
    content.metadata.setdefault("title", notebook.stem)
    body, _ = HTMLExporter(raw_template=_TEMPLATE, embed_images=True).from_notebook_node(content)
    body = re.sub(r"formula(\d+)mark", lambda mark: formulas[int(mark[1])], body)
    files.write_text(page, body)
    write_plotly_js(page.parent)


def _mathml(formula: re.Match) -> str:
    """`$...$` and `$$...$$` as MathML; code, and TeX that cannot be read, as it is."""
    if formula["code"]:
        return formula[0]
    from latex2mathml.converter import convert

    tex, display = formula["block"] or formula["inline"], "block" if formula["block"] else "inline"
    try:
        return convert(" ".join(tex.split()), display=display)
    except Exception:  # its errors share no base
        return formula[0]


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
