"""Controls, a picture and its numbers. Pictures are drawn on a thread of their own."""

import html
import itertools
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import ipywidgets
import plotly.graph_objects as go
from IPython.display import display

from predrecon.workbook.figures import show, switchable
from predrecon.workbook.figures.gallery import words
from predrecon.workbook.figures.style import finish
from predrecon.workbook.widgets.plot_view import PlotView

PATIENCE, TRIES = 3.0, 6  # seconds until a view must answer, doubled at every try
_NOTE = "A still picture: run this cell in JupyterLab, and controls come with it."
_NOTE = {"text/html": f"<small>{_NOTE}</small>", "text/plain": _NOTE}
MEMORY = 64 << 20  # bytes of pictures that an explorer remembers


@dataclass(frozen=True)
class Picture:
    """What an explorer shows for one setting of its controls: a figure, HTML above it, and numbers.

    `numbers`, also HTML, is shown next to the figure in a wide cell and below it in a narrow one.
    `texts`, a list as JSON, holds the hover texts of points by their number (`customdata`): it is
    sent separately from the figure, and once for many pictures.
    """

    figure: go.Figure
    above: str = ""
    numbers: str = ""
    label: str = ""  # the text alternative; default: the figure's title
    texts: str = ""


class Latest:
    """Does `work(request)` on a thread; of the requests that come meanwhile only the last counts.

    So moving a control quickly never queues pictures that nobody will see.
    """

    def __init__(self, work: Callable):
        self._work, self._thread = work, ThreadPoolExecutor(1)
        self._last: Future | None = None

    def submit(self, request):
        if self._last is not None:
            self._last.cancel()  # no effect on work that has begun
        self._last = self._thread.submit(self._serve, request)

    def settle(self):
        while self._last is not None and not self._last.done():
            wait([self._last])

    def _serve(self, request):
        try:
            self._work(request)
        except Exception:  # the next request is still served
            logging.getLogger(__name__).exception("An explorer could not serve %r", request)


class Explorer:
    """Controls and what they choose; without a kernel (headless runs, HTML) a static figure.

    Args:
        draw: `draw(**values) -> Picture`, a pure function of the controls' values. A `ValueError`
            is shown as a message above the last picture.
        controls: `{name of an argument: widget with a value}`, in rows as they fit.
        first: what to try first, and what to see there: the line at the top.
        menus: controls whose options the static figure offers, combined, in a menu.
        still: further arguments of `draw` for the static figure.
        keep: cache pictures by the controls' values; False if they change with time.
        head, extra: widgets before the controls and after the numbers.
        on_chosen: `on_chosen(points)` after points of the picture were clicked or selected.
    """

    def __init__(
        self,
        draw: Callable[..., Picture],
        controls: dict[str, ipywidgets.Widget],
        first: str,
        *,
        menus: tuple[str, ...] = (),
        still: dict | None = None,
        keep: bool = True,
        head: tuple[ipywidgets.Widget, ...] = (),
        extra: tuple[ipywidgets.Widget, ...] = (),
        on_chosen: Callable[[list], object] = lambda points: None,
    ):
        self.draw, self.controls, self.on_chosen = draw, controls, on_chosen
        try:
            self.still = self._still(menus, still or {})
        except Exception as error:  # show the error instead of the figure: the notebook continues
            self.still = finish(go.Figure(), _message(error), height=120)
        self.message, self.above, self.numbers = (ipywidgets.HTML() for _ in range(3))
        self.current: dict | None = None  # the values whose picture is shown
        self._keep, self._pictures = keep, {}  # most recently shown last
        self._latest, self._tries = Latest(self._show), 0
        self._front_end, self._waiting = False, []
        for control in controls.values():
            control.observe(lambda _: self.redraw(), names="value")
        self.view = self._new_view()
        parts = {  # in the order of the Tab key; explorer.css places them by the cell's width
            "controls": [*head, *controls.values()],
            "picture": [self.message, self.above, self.view],
            "numbers": [self.numbers, *extra],
        }
        self.parts = {name: _box(children, name) for name, children in parts.items()}
        hint = ipywidgets.HTML(f"<p><b>Try first:</b> {first}</p>")
        self.box = _box([hint, _box(self.parts.values(), "body")], "explorer")
        self.box.layout.overflow = "hidden"

    @property
    def values(self) -> dict:
        return {name: control.value for name, control in self.controls.items()}

    def redraw(self):
        self._latest.submit(self.values)

    def settle(self):
        """Wait until the picture of the current values is drawn."""
        self._latest.settle()

    def _new_view(self) -> PlotView:
        view = PlotView()
        view.on_msg(self._hear)
        return view

    def _hear(self, view: PlotView, message: dict, _):
        kind = message["kind"]
        if kind == "hello":
            self._front_end = True
            while self._waiting:
                self._swap(self._waiting.pop())
        elif kind == "chosen" and message.get("number", view.number) == view.number:
            self.on_chosen(message["points"])  # not those of an older picture
        elif kind == "view":
            if not view.number:
                self.redraw()
            if self._tries < TRIES and not view.heard:
                timer = threading.Timer(PATIENCE * 2**self._tries, self._replace_deaf, [view])
                timer.daemon = True
                timer.start()

    def _replace_deaf(self, view: PlotView):
        # anywidget gives a model two seconds to start; on a busy page it may take longer, and then
        # it sends messages but never receives one
        if view.heard or view is not self.view:
            return
        self._tries += 1
        self.view = self._new_view()
        self.parts["picture"].children = [self.message, self.above, self.view]
        view.close()

    def _ipython_display_(self):
        """The static figure, and below it a note that the widget replaces.

        Two outputs, since JupyterLab prefers a widget, even a lost one, to anything else in its
        output. So a notebook that is opened again without its kernel still shows the figure. While
        the widget is there, explorer.css hides the figure above it.
        """
        show(self.still)
        handle = display(_NOTE, raw=True, display_id=True)
        if handle is not None and self._front_end:
            self._swap(handle)
        elif handle is not None:  # None outside of a notebook
            self._waiting.append(handle)

    def _swap(self, handle):
        handle.update(self.box._repr_mimebundle_() | _NOTE, raw=True)

    def _still(self, menus: tuple[str, ...], more: dict) -> go.Figure:
        """A figure with every combination of the menus' options that can be drawn."""
        options = (self.controls[name].options for name in menus)
        pairs = [[o if isinstance(o, tuple) else (o, o) for o in each] for each in options]
        figures, failed = {}, None
        for chosen in itertools.product(*pairs):
            values = dict(zip(menus, (value for _, value in chosen), strict=True))
            try:
                figure = self.draw(**self.values | values | more).figure
                figures[" · ".join(str(title) for title, _ in chosen)] = figure
            except ValueError as error:
                failed = error
        if not figures:
            raise failed
        label = ", ".join(self.controls[name].description for name in menus)
        return switchable(figures, label) if menus else figures[""]

    def _show(self, values: dict):
        key = tuple(values.items())
        try:
            picture = self._pictures.pop(key, None)
            if picture is None:
                self.view.busy(True)
                new = self.draw(**values)
                label = new.label or words(new.figure.layout.title.text) or "figure"
                picture = new.figure.to_json(), label, new.above, new.numbers, new.texts
            self._pictures[key] = content, label, above, numbers, texts = picture
            self._make_room()
            self.message.value, self.above.value, self.numbers.value = "", above, numbers
            self.current = values
            self.view.show(content, label, texts)
        except Exception as error:  # a message instead of a traceback
            self.message.value = notice(_message(error))
            self.view.busy(False)

    def _make_room(self):
        """Forget the pictures that were shown longest ago."""
        size = sum(len(content) for content, *_ in self._pictures.values())
        while self._pictures and (not self._keep or (size > MEMORY and len(self._pictures) > 1)):
            size -= len(self._pictures.pop(next(iter(self._pictures)))[0])


def _box(children, kind: str) -> ipywidgets.VBox:
    return ipywidgets.VBox(tuple(children)).add_class(f"predrecon-{kind}")


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def notice(text: str) -> str:
    """A message to the reader, as HTML that screen readers announce."""
    return f'<div role="alert" class="predrecon-notice">{html.escape(text)}</div>'
