"""Executed notebooks to HTML that shows its figures without a kernel or a network.

nbconvert leaves plotly's mime type out. Here each such output becomes a plotly <div>; all pages of
a folder share one plotly.min.js beside them.
"""

from pathlib import Path

from predrecon.figures import write_plotly_js

PLOTLY = "application/vnd.plotly.v1+json"
WIDGET = "application/vnd.jupyter.widget-view+json"
_NOTE = "<p><em>Interactive in JupyterLab; the figures above show the same.</em></p>"


def to_html(notebook: Path, page: Path):
    """Write an executed notebook as `page`, and plotly.min.js beside it."""
    import nbformat
    from nbconvert import HTMLExporter

    content = nbformat.read(notebook, as_version=4)
    for cell in content.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PLOTLY in data:
                data["text/html"] = _figure_html(data.pop(PLOTLY))
            elif WIDGET in data:
                data.pop(WIDGET)
                data["text/html"] = _NOTE
    content.metadata.pop("widgets", None)
    exporter = HTMLExporter(require_js_url="", mathjax_url="", embed_images=True)
    body, _ = exporter.from_notebook_node(content)
    script = '<script src="plotly.min.js" charset="utf-8"></script>'
    page.write_text(body.replace("<head>", f"<head>{script}", 1), encoding="utf-8")
    write_plotly_js(page.parent)


def _figure_html(figure: dict) -> str:
    import plotly.io as pio

    return pio.to_html(
        figure, include_plotlyjs=False, full_html=False, validate=False, config={"responsive": True}
    )
