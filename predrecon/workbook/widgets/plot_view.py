"""A plotly figure in a live front end: redrawn in place, with events for chosen points."""

from pathlib import Path

import anywidget

_HERE = Path(__file__).parent


class PlotView(anywidget.AnyWidget):
    """Shows one figure after another, and passes on what its front end says (`on_msg`).

    Figures are sent as messages, not as state, so a saved notebook does not hold them. The front
    end sends `hello` (it exists), `view` (it is on a page), `heard` (messages reach it) and
    `chosen` (points were clicked or selected: their `customdata`, or their numbers in the trace).
    `number` counts the figures shown.
    """

    _esm = _HERE / "plot_view.js"
    _css = _HERE / "explorer.css"

    def __init__(self):
        super().__init__()
        self.content, self.label, self.texts, self.number, self.heard = "", "", "", 0, False
        self.on_msg(self._answer)

    def show(self, content: str, label: str, texts: str = ""):
        """Draw `content`, a figure's JSON; `label` is its text alternative.

        `texts`, a list as JSON, are hover texts by a point's number. They are most of a large map's
        size, so the front end keeps them until it gets new ones.
        """
        kept, self.texts = texts == self.texts, texts
        self.content, self.label, self.number = content, label, self.number + 1
        self._draw(kept)

    def busy(self, yes: bool):
        """Say that a picture is being drawn; the front end shows this after 0.15 s."""
        self.send({"kind": "busy" if yes else "idle"})

    def _draw(self, kept: bool = False):
        message = {"kind": "draw", "number": self.number, "label": self.label}
        parts = [self.content] if kept else [self.content, self.texts]
        self.send(message, [part.encode() for part in parts])

    def _answer(self, _, message: dict, __):
        kind = message["kind"]
        if kind == "library":
            from plotly.offline import get_plotlyjs

            self.send({"kind": "library"}, [get_plotlyjs().encode()])
        elif kind == "heard":
            self.heard = True
        elif kind == "view":
            self.send({"kind": "ping"})
            if self.number:
                self._draw()
