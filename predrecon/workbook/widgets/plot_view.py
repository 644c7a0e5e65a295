"""A plotly figure in a live front end: redrawn in place, and heard when points are chosen."""

from pathlib import Path

import anywidget

_HERE = Path(__file__).parent


class PlotView(anywidget.AnyWidget):
    """Shows one figure after another, and passes on what its front end says (`on_msg`).

    Figures travel as messages, not as state: a saved notebook does not carry them. The front end
    says `hello` (it is there), `view` (it is on a page), `heard` (messages reach it) and `chosen`
    (points were clicked or selected: their `customdata`, or their numbers in the trace).
    `number` counts the figures shown.
    """

    _esm = _HERE / "plot_view.js"
    _css = _HERE / "plot_view.css"

    def __init__(self):
        super().__init__()
        self.content, self.label, self.number, self.heard = "", "", 0, False
        self.on_msg(self._answer)

    def show(self, content: str, label: str):
        """Draw `content`, a figure's JSON; `label` is its text alternative."""
        self.content, self.label, self.number = content, label, self.number + 1
        self._draw()

    def busy(self, yes: bool):
        """Say that a picture is being made; the front end shows it after 0.15 s."""
        self.send({"kind": "busy" if yes else "idle"})

    def _draw(self):
        message = {"kind": "draw", "number": self.number, "label": self.label}
        self.send(message, [self.content.encode()])

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
