"""ipywidgets for the notebooks. Thin: they choose data, and `figures` draws.

Each shows nothing that a static figure beside it does not show too, so a notebook without a front
end loses the choice and not the content.
"""

import time
from collections.abc import Callable

import ipywidgets
import pandas as pd

from predrecon import figures


class LiveCurves:
    """`on_log` callback that redraws training curves in place every few seconds.

    Args:
        histories: finished runs to draw beside the growing one, `{arm: history}`.
        arm: the arm that is being trained.
        every: seconds between redraws.
    """

    def __init__(self, arm: str, histories: dict[str, pd.DataFrame], *, every: float = 5.0):
        self.arm, self.histories, self.every = arm, histories, every
        self.rows: list[dict] = []
        self.handle, self.drawn = None, 0.0

    def __call__(self, row: dict):
        self.rows.append(row)
        if time.monotonic() - self.drawn >= self.every:
            self.drawn = time.monotonic()
            thin = self.rows[:: max(1, len(self.rows) // 500)]
            histories = {**self.histories, self.arm: pd.DataFrame(thin)}
            self.handle = figures.live(figures.training_curves(histories), self.handle)


def geometry_explorer(
    table: pd.DataFrame, spectra: pd.DataFrame, poolings: tuple[str, ...]
) -> ipywidgets.Widget:
    """Switch pooling and data set; eigenspectrum and metrics of the choice follow.

    Args:
        table: `tables.with_published`; spectra: `analysis.spectra`.
        poolings: what the pooling control offers.
    """
    titles = dict(zip(table["title"], table["task"], strict=True))

    def draw(pooling: str, task: str) -> list:
        title = {task: title for title, task in titles.items()}[task]
        return [
            figures.eigenspectra(spectra, task, pooling, title),
            figures.metric_bars(table[table["task"] == task], pooling),
        ]

    return _choose(draw, pooling=_toggle("Pooling", poolings), task=_dropdown("Data set", titles))


def _choose(draw: Callable, **controls: ipywidgets.Widget) -> ipywidgets.Widget:
    """Controls in a row above the figures that `draw(**values)` returns anew at each change.

    They are set as the output's state, not captured by it: a headless client that captures has to
    answer the kernel while a cell runs, and at times waits for ever (nbclient's issue 312).
    """
    out = ipywidgets.Output()

    def redraw(_=None):
        drawn = draw(**{name: control.value for name, control in controls.items()})
        out.outputs = [
            {"output_type": "display_data", "data": figures.bundle(fig), "metadata": {}}
            for fig in drawn
        ]

    for control in controls.values():
        control.observe(redraw, names="value")
    redraw()
    return ipywidgets.VBox([ipywidgets.HBox(list(controls.values())), out])


def _toggle(label: str, options) -> ipywidgets.ToggleButtons:
    style = {"button_width": "90px"}
    return ipywidgets.ToggleButtons(options=list(options), description=label, style=style)


def _dropdown(label: str, options: dict) -> ipywidgets.Dropdown:
    return ipywidgets.Dropdown(options=list(options.items()), description=label)
