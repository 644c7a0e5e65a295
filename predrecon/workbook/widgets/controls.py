"""Controls with a label and a tooltip each, of one look."""

import ipywidgets

_STYLE = {"description_width": "initial"}


def choice(label: str, options, tooltip: str, *, value=None) -> ipywidgets.Dropdown:
    """One of several; `options` are values or `(title, value)` pairs."""
    options = list(options)
    first = options[0][1] if isinstance(options[0], tuple) else options[0]
    return ipywidgets.Dropdown(
        options=options,
        value=first if value is None else value,
        description=label,
        tooltip=tooltip,
        style=_STYLE,
        layout=ipywidgets.Layout(width="auto", max_width="260px", margin="2px 14px 2px 0"),
    )


def several(label: str, options, tooltip: str, *, value=None) -> ipywidgets.SelectMultiple:
    """Any number of several, by Ctrl or Shift; all at first."""
    options = list(options)
    plain = [o[1] if isinstance(o, tuple) else o for o in options]
    return ipywidgets.SelectMultiple(
        options=options,
        value=tuple(plain if value is None else value),
        rows=min(5, len(options)),
        description=label,
        tooltip=tooltip,
        style=_STYLE,
        layout=ipywidgets.Layout(width="auto", max_width="420px", margin="2px 14px 2px 0"),
    )


def buttons(label: str, options, tooltip: str) -> ipywidgets.ToggleButtons:
    """One of a few, all in sight."""
    options = list(options)
    return ipywidgets.ToggleButtons(
        options=options,
        description=label,
        tooltips=[tooltip] * len(options),
        style={"button_width": "auto", "description_width": "initial"},
        layout=ipywidgets.Layout(width="max-content", flex="0 0 auto", margin="2px 14px 2px 0"),
    )


def tick(label: str, tooltip: str, *, value: bool = False) -> ipywidgets.Checkbox:
    layout = ipywidgets.Layout(width="auto", margin="2px 14px 2px 0")
    return ipywidgets.Checkbox(
        value=value, description=label, tooltip=tooltip, indent=False, layout=layout
    )


def number(
    label: str, low: int, high: int, tooltip: str, *, value: int, step: int = 1
) -> ipywidgets.IntSlider:
    return _slider(ipywidgets.IntSlider, label, low, high, tooltip, value=value, step=step)


def share(label: str, low: float, high: float, tooltip: str, *, value) -> ipywidgets.Widget:
    """A share of something, or with a pair as `value` a range of shares."""
    kind = ipywidgets.FloatRangeSlider if isinstance(value, tuple) else ipywidgets.FloatSlider
    return _slider(kind, label, low, high, tooltip, value=value, step=0.05, readout_format=".2f")


def counter(label: str, tooltip: str, *, high: int = 1_000_000) -> ipywidgets.BoundedIntText:
    """A whole number from 0 on, typed or stepped."""
    layout = ipywidgets.Layout(width="130px", margin="2px 14px 2px 0")
    return ipywidgets.BoundedIntText(
        min=0, max=high, description=label, tooltip=tooltip, style=_STYLE, layout=layout
    )


def text(label: str, tooltip: str, *, value: str = "", width: str = "260px") -> ipywidgets.Text:
    return ipywidgets.Text(
        value=value,
        description=label,
        tooltip=tooltip,
        placeholder=tooltip,
        continuous_update=False,
        style=_STYLE,
        layout=ipywidgets.Layout(width=width, margin="2px 14px 2px 0"),
    )


def _slider(kind, label: str, low, high, tooltip: str, **rest) -> ipywidgets.Widget:
    return kind(
        min=low,
        max=high,
        description=label,
        tooltip=tooltip,
        style=_STYLE,
        layout=ipywidgets.Layout(width="300px", margin="2px 14px 2px 0"),
        **rest,
    )


def listing(told: str) -> ipywidgets.HTML:
    """A place for text that a choice in the picture fills."""
    return ipywidgets.HTML(told, layout=ipywidgets.Layout(max_height="420px", overflow="auto"))
