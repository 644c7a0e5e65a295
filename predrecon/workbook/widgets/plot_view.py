"""A plotly figure in a live front end: redrawn in place, and heard when points are chosen."""

from collections.abc import Callable
from pathlib import Path

import anywidget
import plotly.graph_objects as go

_HERE = Path(__file__).parent


class PlotView(anywidget.AnyWidget):
    """Shows one figure after another; says which points were clicked or selected.

    Figures travel as messages, not as state: a saved notebook does not carry them. Points are
    named by their `customdata`, or by their number in the trace.
    """

    _esm = _HERE / "plot_view.js"
    _css = _HERE / "plot_view.css"

    def __init__(self):
        super().__init__()
        self.ready = False  # whether a front end has answered
        self.heard = False  # whether it hears: see `Explorer._watch`
        self.number = 0  # of figures shown
        self._last: tuple[str, bytes] | None = None
        self._on_ready: list[Callable[[], None]] = []
        self._on_view: list[Callable[[], None]] = []
        self._on_chosen: list[Callable[[list], None]] = []
        self.on_msg(self._heard)

    def show(self, content: str, label: str):
        """Draw `content`, a figure's JSON; `label` is its text alternative."""
        self.number += 1
        self._last = label, content.encode()
        self._send_last()

    def busy(self, yes: bool):
        """Say that a picture is being made; the front end shows it after 0.15 s."""
        self.send({"kind": "busy" if yes else "idle"})

    def on_ready(self, call: Callable[[], None]):
        """`call()` when a front end is there; at once if one is."""
        if self.ready:
            call()
        else:
            self._on_ready.append(call)

    def on_view(self, call: Callable[[], None]):
        """`call()` whenever the widget is put on a page."""
        self._on_view.append(call)

    def on_chosen(self, call: Callable[[list], None]):
        """`call(points)` after a click or a selection; `[]` when it is taken back."""
        self._on_chosen.append(call)

    def _send_last(self):
        label, content = self._last
        self.send({"kind": "draw", "number": self.number, "label": label}, [content])

    def _heard(self, _, message: dict, __):
        kind = message.get("kind")
        if kind == "hello" and not self.ready:
            self.ready = True
            for call in self._on_ready:
                call()
        elif kind == "library":
            from plotly.offline import get_plotlyjs

            self.send({"kind": "library"}, [get_plotlyjs().encode()])
        elif kind == "heard":
            self.heard = True
        elif kind == "view":
            self.send({"kind": "ping"})
            if self._last:
                self._send_last()
            for call in self._on_view:
                call()
        elif kind == "chosen":
            if message.get("number", self.number) == self.number:  # else of an older picture
                for call in self._on_chosen:
                    call(message["points"])


def label_of(figure: go.Figure) -> str:
    """A figure's title as plain text."""
    return (figure.layout.title.text or "figure").replace("<br>", " ")
