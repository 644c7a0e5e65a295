"""Small PNG pictures beside the figures of committed notebooks, for hosts that run no scripts."""

import base64
import io
import tempfile
from pathlib import Path

import plotly.graph_objects as go
import plotly.io as pio

from predrecon.workbook.figures.style import PLOTLY, has_browser

_WIDTH = 700  # pixels
_COLORS = 32  # of a palette: a tenth of the bytes


def add_images(notebook) -> int:
    """Give every plotly output of an nbformat notebook an `image/png`; returns how many there are.

    Front ends that know plotly go on showing the figure. Without a Chromium or without Pillow
    nothing is added.
    """
    try:
        from PIL import Image
    except ImportError:
        return 0
    outputs = [
        output for cell in notebook.cells for output in cell.get("outputs", [])
        if PLOTLY in output.get("data", {})
    ]  # fmt: skip
    if not outputs or not has_browser():
        return 0
    for output, png in zip(outputs, _drawn([o["data"][PLOTLY] for o in outputs]), strict=True):
        small = io.BytesIO()
        Image.open(png).convert("RGB").quantize(_COLORS).save(small, "PNG", optimize=True)
        output["data"]["image/png"] = base64.b64encode(small.getvalue()).decode() + "\n"
    return len(outputs)


def _drawn(figures: list[dict]) -> list:
    """PNG files, in memory."""
    drawn = [go.Figure(figure, skip_invalid=True) for figure in figures]
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(len(drawn))]
        heights = [figure.layout.height or 420 for figure in drawn]
        pio.write_images(drawn, files, width=_WIDTH, height=heights)
        return [io.BytesIO(file.read_bytes()) for file in files]
