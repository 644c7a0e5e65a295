"""Many figures in one that plotly's own menus switch between: no kernel, no network.

A button of plotly's menus holds fixed instructions and knows nothing of the other menu. So the two
menus touch different things: the first shows and hides traces, the second replaces their data.
"""

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import plotly.graph_objects as go

_BAND = 78  # pixels more above the plots, for the menus and a legend of two rows
_TITLE = 66  # pixels from the top that title and subtitle take
_AXIS = re.compile(r"[xy]axis\d*\.")
_AXIS_RANGE = re.compile(r"([xy]axis\d*|polar\d*\.radialaxis)\.range")


def switchable(
    draw: Callable[..., go.Figure],
    choices: dict[str, Iterable | dict[str, Any]],
    *,
    title: str | None = None,
) -> go.Figure:
    """One figure with a menu or two instead of one figure a choice.

    `draw` is called for every combination. Numbers are kept to four digits. What differs in the
    layouts follows the menu that it depends on; axes whose ranges `draw` sets get one range that
    holds all choices, the others fit what is shown.

    Args:
        draw: makes the figure of a choice: `draw(first)`, or `draw(first, second)` with two menus.
        choices: `{label of a menu: values, or {shown: value}}`, one or two of them, e.g.
            `{"Task": {"SST-2": "sst2"}, "Pooling": ["mean", "max"]}`. The second menu keeps the
            traces and replaces their data: give it the choices that are drawn alike.
        title: of the whole; needed where the titles drawn depend on both menus, since no menu could
            keep such a title true.

    Returns:
        A figure that shows the first choice of each menu.

    Raises:
        ValueError: no menu, more than two or an empty one; two values of the second menu with
            other traces; a part of the layout that depends on both menus.
    """
    menus = {label: _named(values) for label, values in choices.items()}
    if len(menus) not in (1, 2) or not all(menus.values()):
        raise ValueError(f"choices={choices!r}: expected one or two menus with values.")
    (_, firsts), *second = menus.items()
    seconds = [(value,) for value in second[0][1].values()] if second else [()]
    drawn = [[_plain(draw(value, *other)) for other in seconds] for value in firsts.values()]
    if title is not None:
        for figure in (figure for row in drawn for figure in row):
            figure["layout"].setdefault("title", {})["text"] = title
    for shown, row in zip(firsts, drawn, strict=True):
        _same_traces(shown, list(second[0][1]) if second else [""], row)

    common, by_first, by_second = _layouts(drawn)
    traces = [(number, trace) for number, row in enumerate(drawn) for trace in row[0]["data"]]
    seen = [
        [number == shown and trace.get("visible", True) for number, trace in traces]
        for shown in range(len(drawn))
    ]
    base = [trace | {"visible": flag} for (_, trace), flag in zip(traces, seen[0], strict=True)]
    fig = go.Figure(base, drawn[0][0]["layout"])
    fig.update_layout(common | by_first[0] | by_second[0])
    relayouts = [common | own for own in by_first]
    steps = [[({"visible": flags}, own) for flags, own in zip(seen, relayouts, strict=True)]]
    if second:
        steps.append(list(zip(_data(drawn), [common | own for own in by_second], strict=True)))
    return _with_menus(fig, menus, steps)


def _named(values: Iterable | dict[str, Any]) -> dict[str, Any]:
    return values if isinstance(values, dict) else {str(value): value for value in values}


def _plain(fig: go.Figure) -> dict:
    """`{"data": [...], "layout": {...}}` of lists and short numbers, the template left out.

    Menus take no packed arrays: plotly.js would not unpack them there.
    """
    figure = fig.to_plotly_json()
    layout = {key: value for key, value in figure["layout"].items() if key != "template"}
    plain = _short({"data": list(figure["data"]), "layout": layout})
    plain["layout"]["template"] = fig.layout.template
    return plain


def _short(value):
    if isinstance(value, dict) and "bdata" in value:
        value = np.frombuffer(base64.b64decode(value["bdata"]), value["dtype"]).reshape(
            [int(n) for n in str(value.get("shape", -1)).split(",")]
        )
    if isinstance(value, dict):
        return {key: _short(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_short(part) for part in value]
    if isinstance(value, (float, np.floating)):
        value = float(value)
        if not np.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 1e9 else float(f"{value:.4g}")
    return value.item() if isinstance(value, np.generic) else value


def _flat(tree: dict, path: str = "") -> dict[str, Any]:
    """`{"error_y.array": [...], ...}`, as plotly's restyle and relayout name attributes."""
    flat = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{path}{key}.")
        elif f"{path}{key}" != "template":
            flat[f"{path}{key}"] = value
    return flat


def _same_traces(shown: str, names: list[str], row: list[dict]):
    def kinds(figure):
        return [f"{trace['type']} {trace.get('name', '')!r}" for trace in figure["data"]]

    first = kinds(row[0])
    for name, figure in zip(names, row, strict=True):
        if kinds(figure) != first:
            only = set(first) ^ set(kinds(figure))
            raise ValueError(
                f"{shown}, {name}: {len(figure['data'])} traces where {names[0]} has {len(first)}; "
                f"not in both: {', '.join(sorted(only)) or 'the same in another order or number'}. "
                "Let draw() make the same traces for every value of the second menu, empty ones "
                "where there is nothing to show."
            )


def _data(drawn: list[list[dict]]) -> list[dict]:
    """For every value of the second menu what it replaces: `{attribute: [a value a trace]}`."""
    columns = [
        [_flat(trace) for row in drawn for trace in row[number]["data"]]
        for number in range(len(drawn[0]))
    ]
    paths = {path: None for traces in columns for trace in traces for path in trace}
    moving = [
        path for path in paths
        if any(trace.get(path) != first.get(path)
               for traces in columns for first, trace in zip(columns[0], traces, strict=True))
    ]  # fmt: skip
    return [{path: [trace.get(path) for trace in traces] for path in moving} for traces in columns]


def _layouts(drawn: list[list[dict]]) -> tuple[dict, list[dict], list[dict]]:
    """What every button sets in the layout, and what those of either menu set besides."""
    grid = [[_flat(figure["layout"]) for figure in row] for row in drawn]
    every = [layout for row in grid for layout in row]
    axes = {path.split(".")[0] for layout in every for path in layout if _AXIS.match(path)}
    for layout in every:  # a zoom of before the switch must not stay
        for axis in axes:
            layout.setdefault(f"{axis}.autorange", True)
    common, by_first, by_second = {}, [{} for _ in grid], [{} for _ in grid[0]]
    for path in {path: None for layout in every for path in layout}:
        values = [layout.get(path) for layout in every]
        if _AXIS_RANGE.fullmatch(path):
            common[path] = _union(values)
        elif all(value == values[0] for value in values):
            continue
        elif all(layout.get(path) == row[0].get(path) for row in grid for layout in row):
            for own, row in zip(by_first, grid, strict=True):
                own[path] = row[0].get(path)
        elif all(layout.get(path) == top.get(path)
                 for row in grid for layout, top in zip(row, grid[0], strict=True)):  # fmt: skip
            for own, layout in zip(by_second, grid[0], strict=True):
                own[path] = layout.get(path)
        else:
            hint = " Give one that holds for all: title=." if path == "title.text" else ""
            raise ValueError(f"layout.{path} depends on both menus: {values[:3]}...{hint}")
    for axis in sorted(axes):
        if common.get(f"{axis}.range") is not None:
            for part in (common, *by_first, *by_second):
                part.pop(f"{axis}.autorange", None)
        else:
            common.pop(f"{axis}.range", None)
            if not any(f"{axis}.autorange" in part for part in (*by_first, *by_second)):
                common[f"{axis}.autorange"] = every[0][f"{axis}.autorange"]
    return common, by_first, by_second


def _union(ranges: list) -> list | None:
    """The range that holds all; None, to fit what is shown, where one of them is left open."""
    if any(pair is None or None in pair for pair in ranges):
        return None
    ends = [end for pair in ranges for end in pair]
    backwards = all(pair[0] > pair[1] for pair in ranges)
    return [max(ends), min(ends)] if backwards else [min(ends), max(ends)]


def _with_menus(fig: go.Figure, menus: dict[str, dict], steps: list) -> go.Figure:
    """Dropdowns between title and legend, side by side at any width.

    Their place is a share of the plots, which long tick labels shrink: they sink by some pixels.
    """
    height, margin = fig.layout.height or 450, fig.layout.margin
    top = (margin.t or 80) + _BAND
    plot = height + _BAND - top - (margin.b or 60)
    drops, left = [], 0
    for (label, values), buttons in zip(menus.items(), steps, strict=True):
        words = [f"{label}: {shown}" for shown in values]
        drops.append(
            dict(
                buttons=[
                    dict(label=word, method="update", args=list(args))
                    for word, args in zip(words, buttons, strict=True)
                ],
                x=0,
                xanchor="left",
                y=1 + (top - _TITLE) / plot,
                yanchor="top",
                pad=dict(l=left, t=0),
                bgcolor="white",
                bordercolor="#999999",
                font=dict(size=12, color="#333333"),
            )
        )
        left += 8 * max(map(len, words)) + 50  # their width is only known when drawn
    height += _BAND
    legend = dict(yref="container", y=1 - (_TITLE + 48) / height, yanchor="top")  # grows downwards
    fig.update_layout(title=dict(y=1 - 12 / height, yanchor="top"), legend=legend)
    return fig.update_layout(updatemenus=drops, height=height, margin_t=top)
