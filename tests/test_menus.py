"""Figures that switch without a kernel: what plotly's buttons say, carried out here."""

import base64
import itertools
import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from predrecon.workbook import figures
from predrecon.workbook.figures.geometry import SIX
from predrecon.workbook.figures.menus import as_printed
from predrecon.workbook.figures.probes import probing_view

TASKS = {"SST-2": "sst2", "MNLI (stand-in)": "mnli", "STS-B": "stsb"}
POOLINGS = ["mean", "max", "attention"]
CHOICES = {
    f"{title} · {pooling}": (task, pooling)
    for (title, task), pooling in itertools.product(TASKS.items(), POOLINGS)
}


@pytest.fixture(scope="module")
def tables():
    """Made-up metrics and spectra, other ones for every task, pooling and model."""
    rng = np.random.default_rng(0)
    metrics, spectra = [], []
    for (title, task), pooling in itertools.product(TASKS.items(), POOLINGS):
        for model in ("hybrid", "mlm", "untrained")[: 2 if task == "mnli" else 3]:
            share = np.sort(rng.dirichlet(np.full(20, 0.5)))[::-1]
            row = dict(task=task, title=title, pooling=pooling, model=model)
            rank = np.arange(1, 21)
            spectra.append(
                pd.DataFrame(row | dict(rank=rank, share=share, cumulative=share.cumsum()))
            )
            for metric in SIX:
                value = rng.normal(10, 5)
                metrics.append(row | dict(metric=metric, value=value, low=value - 1, high=np.nan))
    return pd.DataFrame(metrics), pd.concat(spectra)


def bars(tables, task, pooling):
    return figures.metric_bars(tables[0].query("task == @task"), pooling)


def spectrum(tables, task, pooling):
    return figures.eigenspectra(tables[1], task, pooling, task)


def every(draw, tables):
    return {choice: draw(tables, *values) for choice, values in CHOICES.items()}


def put(tree, path, value):
    *way, last = path.split(".")
    for key in way:
        tree = tree.setdefault(key, {})
    tree[last] = value


def press(page, number):
    """What plotly.js does for a button with the method `update`: it repeats short lists."""
    restyle, relayout = page["layout"]["updatemenus"][0]["buttons"][number]["args"]
    for path, values in restyle.items():
        for trace, value in zip(page["data"], itertools.cycle(values), strict=False):
            put(trace, path, value)
    for path, value in relayout.items():
        put(page["layout"], path, value)


def numbers(values):
    """A trace's values, as plotly.js unpacks them; single precision is near enough."""
    if isinstance(values, dict):
        values = np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist()
    return [
        v if isinstance(v, (str, type(None))) else pytest.approx(v, 1e-3, nan_ok=True)
        for v in values
    ]


def seen(page):
    """Traces, as (name, x, y, error bars), which a reader sees."""
    traces = [t for t in page["data"] if t.get("visible", True) is True and "x" in t]
    bars = [t.get("error_y", {}).get("array", []) for t in traces]
    return [
        (t["name"], numbers(t["x"]), numbers(t["y"]), numbers(bar))
        for t, bar in zip(traces, bars, strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("draw", [bars, spectrum])
def test_any_order_of_presses_shows_what_was_chosen(tables, draw):
    page = json.loads(figures.switchable(every(draw, tables), "Task, Pooling").to_json())
    assert seen(page) == seen(json.loads(draw(tables, "sst2", "mean").to_json()))
    rng = np.random.default_rng(1)
    for number in rng.integers(len(CHOICES), size=30):
        press(page, number)
        expected = json.loads(draw(tables, *list(CHOICES.values())[number]).to_json())
        assert seen(page) == seen(expected)
        assert page["layout"]["title"]["text"] == expected["layout"]["title"]["text"]


def test_pages_are_short(tables):
    fig = figures.switchable(every(spectrum, tables), "Task, Pooling")
    page = json.loads(fig.to_json())
    instructions = json.dumps(page["layout"]["updatemenus"])
    assert "bdata" not in instructions and "NaN" not in instructions, "plotly.js unpacks no menus"
    single = spectrum(tables, "sst2", "mean").to_json()
    assert len(fig.to_json()) < 9 * len(single), "nine choices weigh less than nine figures"
    assert {t["y"]["dtype"] for t in page["data"] if "y" in t} == {"f4"}


def test_ranges_follow_and_a_zoom_of_before_does_not_stay(tables):
    fig = figures.switchable(every(spectrum, tables), "Task, Pooling")
    ranges = [spectrum(tables, *values).layout.yaxis.range for values in CHOICES.values()]
    assert fig.layout.yaxis.range == pytest.approx(ranges[0])
    (menu,) = fig.layout.updatemenus
    for button, bounds in zip(menu.buttons, ranges, strict=True):
        assert button.args[1]["xaxis.autorange"] is True
        assert button.args[1]["yaxis.range"] == pytest.approx(bounds)


def test_axes_follow_from_classes_to_numbers_and_back():
    rng = np.random.default_rng(0)

    def draw(task):
        classes = {"sst2": ("bad", "good"), "stsb": ()}[task]
        answers = rng.integers(0, 2, 30) if classes else rng.random(30)
        scores = pd.DataFrame(dict(model=["hybrid"], score=[0.5], low=[0.4], high=[0.6]))
        labels = rng.integers(0, 2, 30)
        return probing_view(scores, {"hybrid": answers}, labels, classes, task, "accuracy")

    fig = figures.switchable({task: draw(task) for task in ("sst2", "stsb")}, "Task")
    page = json.loads(fig.to_json())
    for number in (1, 0, 1, 1, 0):
        press(page, number)
        graded = number == 1
        for axis in ("xaxis2", "yaxis2"):
            kind = "linear" if graded else "category"
            assert page["layout"][axis]["type"] == kind, axis
        assert page["layout"]["yaxis2"]["autorange"] == (True if graded else "reversed")
        kinds = [t["type"] for t in page["data"] if t["visible"] is True]
        assert kinds == ["bar", "scattergl" if graded else "heatmap"]


def test_a_menu_names_its_choices(tables):
    heights = {title: bars(tables, task, "max") for title, task in TASKS.items()}
    (menu,) = figures.switchable(heights, "Task").layout.updatemenus
    assert menu.name == "Task" and [b.label for b in menu.buttons] == list(TASKS)


def test_the_menu_stands_between_title_and_legend(tables):
    for draw in (bars, spectrum):
        fig = figures.switchable(every(draw, tables), "Task, Pooling")
        plot = fig.layout.height - fig.layout.margin.t - fig.layout.margin.b
        (menu,) = fig.layout.updatemenus
        top = fig.layout.margin.t - (menu.y - 1) * plot  # pixels from the top
        legend = fig.layout.legend
        below = (1 - legend.y) * fig.layout.height
        assert (legend.yref, legend.yanchor) == ("container", "top")
        assert top > 12 + 15 + 11 + 20 and top + 35 <= below <= fig.layout.margin.t - 60


def test_choices_may_differ_in_everything_and_none_is_an_error(tables):
    one = go.Figure(go.Bar(name="hybrid", x=["a"], y=[1.0]))
    two = go.Figure(one).add_scatter(name="mlm", x=["a"], y=[2.0]).update_layout(title_text="two")
    page = json.loads(figures.switchable({"one": one, "two": two}, "Model").to_json())
    for number, names in ((1, ["hybrid", "mlm"]), (0, ["hybrid"]), (1, ["hybrid", "mlm"])):
        press(page, number)
        assert [name for name, *_ in seen(page)] == names
        assert page["layout"]["title"].get("text") == ("two" if number else None)
    with pytest.raises(ValueError, match="no choices"):
        figures.switchable({}, "Task")


def test_a_picture_has_the_choice_in_words_where_no_menu_opens():
    parts = {name: go.Figure(go.Scatter(y=[1, 2])) for name in ("SST-2", "MNLI")}
    fig = figures.switchable(parts, "Task")
    printed = as_printed(fig)
    assert not printed.layout.updatemenus and fig.layout.updatemenus
    assert [note.text for note in printed.layout.annotations] == ["Task: SST-2"]
