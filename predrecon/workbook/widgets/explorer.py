"""Controls above a picture. The picture is drawn apart from the kernel's messages: latest wins."""

import html
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import ipywidgets
import plotly.graph_objects as go

from predrecon.workbook.figures import bundle, switchable
from predrecon.workbook.figures.style import finish
from predrecon.workbook.widgets.plot_view import PlotView, label_of

_PATIENCE, _TRIES = 3.0, 6  # seconds until a view must have heard, doubled at every try
_KEPT = 64 << 20  # bytes of pictures that an explorer remembers


@dataclass(frozen=True)
class Picture:
    """What an explorer shows for one setting of its controls: a figure, HTML above and below it."""

    figure: go.Figure
    above: str = ""
    below: str = ""
    label: str = ""  # the text alternative; default: the figure's title


class Latest:
    """Does `work(request)` on a thread; of the requests that come meanwhile only the last counts.

    So a control that is moved quickly never queues pictures that nobody will see, and the kernel
    goes on answering.
    """

    def __init__(self, work: Callable):
        self._work, self._lock = work, threading.Lock()
        self._waiting: list = []  # at most one
        self._thread: threading.Thread | None = None

    def ask(self, request):
        with self._lock:
            self._waiting = [request]
            if self._thread is None:
                self._thread = threading.Thread(target=self._go_on, daemon=True)
                self._thread.start()

    def settle(self):
        """Wait until nothing is asked for any more."""
        while (thread := self._thread) is not None:
            thread.join()

    def _go_on(self):
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                request = self._waiting.pop()
            try:
                self._work(request)
            except Exception:  # the next request is served all the same
                logging.getLogger(__name__).exception("An explorer could not serve %r", request)


class Explorer:
    """Controls and what they choose. Displayed, it is a static figure until a front end answers.

    Args:
        draw: `draw(**values) -> Picture`, a pure function of the controls' values. A `ValueError`
            is shown as a message above the last picture.
        controls: `{name of an argument: widget with a value}`, in rows as they fit.
        still: stands in the explorer's place where there is no kernel: headless runs, HTML pages,
            code hosts. Default: the first picture, with menus for the controls named in `menus`.
        menus: one or two controls; two, whose pictures differ in title, need a `title` for all.
        keep: remember pictures by the controls' values; False where they change with time.
        head, extra: widgets above the controls and below the picture.
    """

    def __init__(
        self,
        draw: Callable[..., Picture],
        controls: dict[str, ipywidgets.Widget],
        *,
        still: go.Figure | None = None,
        menus: tuple[str, ...] = (),
        title: str | None = None,
        keep: bool = True,
        head: tuple[ipywidgets.Widget, ...] = (),
        extra: tuple[ipywidgets.Widget, ...] = (),
    ):
        self.draw, self.controls = draw, controls
        self.still = still or self._safe_still(menus, title)
        self.view, self.message = PlotView(), ipywidgets.HTML()
        self._on_chosen: list[Callable[[list], None]] = []
        self.above, self.below = ipywidgets.HTML(), ipywidgets.HTML()
        self._keep, self._kept = keep, OrderedDict()
        self.shown: dict | None = None  # the values whose picture is in sight
        self._latest = Latest(self._show)
        for control in controls.values():
            control.observe(lambda _: self.redraw(), names="value")
        self._wire(self.view, 0)
        wrap = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
        row = ipywidgets.HBox(list(controls.values()), layout=wrap)
        shown = [*head, row, self.message, self.above, self.view, self.below, *extra]
        self.box = ipywidgets.VBox(shown, layout=ipywidgets.Layout(overflow="hidden"))

    @property
    def values(self) -> dict:
        return {name: control.value for name, control in self.controls.items()}

    def on_chosen(self, call: Callable[[list], None]):
        """`call(points)` after points of the picture were clicked or selected."""
        self._on_chosen.append(call)

    def redraw(self):
        """Ask for the picture of the controls' present values."""
        self._latest.ask(self.values)

    def settle(self):
        """Wait until the picture of the present values is there."""
        self._latest.settle()

    def _wire(self, view: PlotView, tries: int):
        view.on_view(lambda: self._viewed(view, tries))
        view.on_chosen(lambda points: [call(points) for call in self._on_chosen])

    def _viewed(self, view: PlotView, tries: int):
        if view._last is None:
            self.redraw()
        if tries < _TRIES and not view.heard:
            watch = threading.Timer(_PATIENCE * 2**tries, self._replace_deaf, [view, tries])
            watch.daemon = True
            watch.start()

    def _replace_deaf(self, view: PlotView, tries: int):
        """A new view for one that speaks and does not hear.

        anywidget gives a model two seconds to begin; one that a busy page keeps waiting for longer
        never gets a message afterwards.
        """
        if view.heard or view is not self.view:
            return
        self.view = PlotView()
        self._wire(self.view, tries + 1)
        shown = [self.view if child is view else child for child in self.box.children]
        self.box.children = shown
        view.close()

    def _ipython_display_(self):
        from IPython.display import display

        handle = display(bundle(self.still), raw=True, display_id=True)
        if handle is not None:  # None outside of a notebook
            self.view.on_ready(lambda: handle.update(self._live(), raw=True))

    def _remember(self, key: tuple, picture: Picture):
        label = picture.label or label_of(picture.figure)
        self._kept[key] = picture.figure.to_json(), label, picture.above, picture.below
        held = sum(len(content) for content, *_ in self._kept.values())
        while held > _KEPT and len(self._kept) > 1:
            _, (content, *_) = self._kept.popitem(last=False)
            held -= len(content)

    def _safe_still(self, menus: tuple[str, ...], title: str | None) -> go.Figure:
        """What cannot be drawn says so in its place: a notebook goes on."""
        try:
            return self._still(menus, title)
        except Exception as error:
            return finish(go.Figure(), _told(error), height=120)

    def _still(self, menus: tuple[str, ...], title: str | None) -> go.Figure:
        values = self.values
        if not menus:
            return self.draw(**values).figure
        asked = [self.controls[name] for name in menus]
        choices = {control.description: _options(control) for control in asked}

        def drawn(*chosen) -> go.Figure:
            return self.draw(**values | dict(zip(menus, chosen, strict=True))).figure

        return switchable(drawn, choices, title=title)

    def _live(self) -> dict:
        """The widget; front ends that do not know it show the static figure."""
        return bundle(self.still) | self.box._repr_mimebundle_()

    def _show(self, values: dict):
        key = tuple(values.items())
        try:
            if key not in self._kept:
                self.view.busy(True)
                self._remember(key, self.draw(**values))
            self._kept.move_to_end(key)
            content, label, above, below = self._kept[key]
            if not self._keep:
                self._kept.clear()
            self.message.value, self.above.value, self.below.value = "", above, below
            self.shown = values
            self.view.show(content, label)
        except Exception as error:  # a traceback in a notebook helps nobody who moved a slider
            self.message.value = notice(_told(error))
            self.view.busy(False)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def _options(control: ipywidgets.Widget) -> dict:
    """`{shown: value}` of a control that offers some."""
    return {str(o[0] if isinstance(o, tuple) else o): o[1] if isinstance(o, tuple) else o
            for o in control.options}  # fmt: skip


def notice(text: str) -> str:
    """A message to the reader, as HTML that screen readers announce."""
    style = "background:#FFF3C4;color:#333;padding:4px 10px;border-radius:4px;line-height:1.4"
    return f'<div role="alert" style="{style}">{html.escape(text)}</div>'
