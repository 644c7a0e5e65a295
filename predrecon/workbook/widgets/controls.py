"""Controls in one style, each with a label and a tooltip."""

import ipywidgets


def choice(label: str, options: list, tooltip: str, **rest) -> ipywidgets.Dropdown:
    """One of several; `options` are values or `(title, value)` pairs."""
    return ipywidgets.Dropdown(
        options=options, **_look(label, tooltip, max_width="min(100%, 260px)"), **rest
    )


def multiple(label: str, options: list, tooltip: str, value) -> ipywidgets.SelectMultiple:
    """Any number of options, with Ctrl or Shift."""
    look = _look(label, tooltip, max_width="min(100%, 420px)") | dict(rows=min(5, len(options)))
    return ipywidgets.SelectMultiple(options=options, value=tuple(value), **look)


def buttons(label: str, options: list, tooltip: str) -> ipywidgets.ToggleButtons:
    """One of a few, all visible."""
    look = _look(label, tooltip, width="auto", flex="0 1 auto")
    look["style"]["button_width"] = "auto"
    look["tooltips"] = [tooltip] * len(options)
    return ipywidgets.ToggleButtons(options=options, **look)


def tick(label: str, tooltip: str) -> ipywidgets.Checkbox:
    return ipywidgets.Checkbox(indent=False, **_look(label, tooltip))


def number(label: str, low: int, high: int, tooltip: str, value: int) -> ipywidgets.IntSlider:
    look = _look(label, tooltip, width="min(100%, 300px)")
    return ipywidgets.IntSlider(min=low, max=high, value=value, **look)


def share(label: str, low: float, tooltip: str, value) -> ipywidgets.Widget:
    """A share, at most 1; a range of shares if `value` is a pair."""
    kind = ipywidgets.FloatRangeSlider if isinstance(value, tuple) else ipywidgets.FloatSlider
    look = _look(label, tooltip, width="min(100%, 300px)") | dict(step=0.05, readout_format=".2f")
    return kind(min=low, max=1.0, value=value, **look)


def counter(label: str, tooltip: str) -> ipywidgets.BoundedIntText:
    """A whole number from 0 on, typed or stepped."""
    return ipywidgets.BoundedIntText(max=1_000_000, **_look(label, tooltip, width="130px"))


def text_field(label: str, tooltip: str) -> ipywidgets.Text:
    look = _look(label, tooltip, width="min(100%, 260px)")
    return ipywidgets.Text(placeholder=tooltip, continuous_update=False, **look)


def text_area(label: str, tooltip: str, value: str) -> ipywidgets.Textarea:
    look = _look(label, tooltip, width="min(100%, 860px)", height="64px")
    return ipywidgets.Textarea(value, **look)


def _look(label: str, tooltip: str, **layout: str) -> dict:
    layout = dict(width="auto", margin="2px 14px 2px 0") | layout
    style = {"description_width": "initial"}
    return dict(description=label, tooltip=tooltip, layout=layout, style=style)
