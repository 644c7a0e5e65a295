"""Figures that switch without a kernel: what plotly's buttons say, carried out here."""

import itertools
import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from predrecon.workbook import figures
from predrecon.workbook.figures.explorers import probing_view
from predrecon.workbook.figures.geometry import BETTER

TASKS = {"SST-2": "sst2", "MNLI (stand-in)": "mnli", "STS-B": "stsb"}
POOLINGS = ["mean", "max", "attention"]
TITLES = {task: title for title, task in TASKS.items()}


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
            for metric in BETTER:
                value = rng.normal(10, 5)
                metrics.append(row | dict(metric=metric, value=value, low=value - 1, high=np.nan))
    return pd.DataFrame(metrics), pd.concat(spectra)


def bars(tables):
    return lambda task, pooling: figures.metric_bars(tables[0].query("task == @task"), pooling)


def spectrum(tables):
    return lambda task, pooling: figures.eigenspectra(tables[1], task, pooling, TITLES[task])


CHOICES = {"Task": TASKS, "Pooling": POOLINGS}
HEADING = "Eigenspectrum (a flatter curve is richer)"


def put(tree, path, value):
    *way, last = path.split(".")
    for key in way:
        tree = tree.setdefault(key, {})
    tree[last] = value


def press(shown, menu, number):
    """What plotly.js does with a button of the method update."""
    restyle, relayout = shown["layout"]["updatemenus"][menu]["buttons"][number]["args"]
    for path, values in restyle.items():
        assert len(values) == len(shown["data"])
        for trace, value in zip(shown["data"], values, strict=True):
            put(trace, path, value)
    for path, value in relayout.items():
        put(shown["layout"], path, value)


def seen(shown):
    """Traces, as (name, x, y, error bars), which a reader sees."""

    def numbers(values):
        values = figures.menus._short(values)
        return [v if isinstance(v, (str, type(None))) else pytest.approx(v, 1e-3) for v in values]

    traces = [t for t in shown["data"] if t.get("visible", True) is True]
    bars = [t.get("error_y", {}).get("array", []) for t in traces]
    return [
        (t["name"], numbers(t["x"]), numbers(t["y"]), numbers(bar))
        for t, bar in zip(traces, bars, strict=True)
    ]


@pytest.mark.parametrize(("make", "title"), [(bars, None), (spectrum, HEADING)])
def test_any_order_of_presses_shows_what_was_asked(tables, make, title):
    draw = make(tables)
    fig = figures.switchable(draw, CHOICES, title=title)
    shown = json.loads(fig.to_json())
    assert seen(shown) == seen(json.loads(draw("sst2", "mean").to_json()))
    at, rng = [0, 0], np.random.default_rng(1)
    for _ in range(30):
        menu = int(rng.integers(2))
        at[menu] = int(rng.integers(3))
        press(shown, menu, at[menu])
        task, pooling = list(TASKS.values())[at[0]], POOLINGS[at[1]]
        asked = json.loads(draw(task, pooling).to_json())
        assert seen(shown) == seen(asked)
        told = shown["layout"]["title"]["text"]
        assert told == (title or asked["layout"]["title"]["text"])


def test_instructions_are_lists_and_short(tables):
    fig = figures.switchable(spectrum(tables), CHOICES, title=HEADING)
    text = fig.to_json()
    assert "bdata" not in text and "NaN" not in text
    alone = spectrum(tables)("sst2", "mean").to_json()
    assert len(text) < 9 * len(alone), "nine choices weigh less than nine figures"


def test_ranges_hold_every_choice_or_follow(tables):
    fig = figures.switchable(spectrum(tables), CHOICES, title=HEADING)
    floors = [spectrum(tables)(t, p).layout.yaxis.range[0] for t in TITLES for p in POOLINGS]
    assert fig.layout.yaxis.range == pytest.approx((min(floors), 0), abs=1e-3)
    for menu in fig.layout.updatemenus:
        for button in menu.buttons:
            assert button.args[1]["xaxis.autorange"] is True
            assert button.args[1]["yaxis.range"][1] == 0


def test_axes_follow_from_classes_to_numbers_and_back():
    rng = np.random.default_rng(0)

    def draw(task, pooling):
        classes = {"sst2": ("bad", "good"), "stsb": ()}[task]
        answers = rng.integers(0, 2, 30) if classes else rng.random(30)
        scores = pd.DataFrame(dict(model=["hybrid"], score=[0.5], low=[0.4], high=[0.6]))
        labels = rng.integers(0, 2, 30)
        return probing_view(scores, {"hybrid": answers}, labels, classes, task, "accuracy")

    choices = {"Task": ["sst2", "stsb"], "Pooling": ["mean", "max"]}
    fig = figures.switchable(draw, choices, title="Probes")
    shown = json.loads(fig.to_json())
    for menu, number in ((1, 1), (0, 1), (1, 0), (0, 0), (0, 1), (0, 0)):
        press(shown, menu, number)
        if menu == 0:
            graded = number == 1
            for axis in ("xaxis2", "yaxis2"):
                kind = "linear" if graded else "category"
                assert shown["layout"][axis]["type"] == kind, axis
            assert shown["layout"]["yaxis2"]["autorange"] == (True if graded else "reversed")
            kinds = [t["type"] for t in shown["data"] if t["visible"] is True]
            assert kinds == ["bar", "scattergl" if graded else "heatmap"]


def test_one_menu(tables):
    fig = figures.switchable(lambda task: bars(tables)(task, "max"), {"Task": TASKS})
    (menu,) = fig.layout.updatemenus
    assert [b.label for b in menu.buttons] == [f"Task: {title}" for title in TASKS]
    shown = json.loads(fig.to_json())
    press(shown, 0, 1)
    assert seen(shown) == seen(json.loads(bars(tables)("mnli", "max").to_json()))


def test_menus_stand_between_title_and_legend(tables):
    for fig in (
        figures.switchable(bars(tables), CHOICES),
        figures.switchable(spectrum(tables), CHOICES, title=HEADING),
    ):
        plot = fig.layout.height - fig.layout.margin.t - fig.layout.margin.b
        first, second = fig.layout.updatemenus
        top = fig.layout.margin.t - (first.y - 1) * plot  # pixels from the top
        legend = fig.layout.legend
        below = (1 - legend.y) * fig.layout.height
        assert (legend.yref, legend.yanchor) == ("container", "top")
        assert top > 12 + 15 + 11 + 20 and top + 35 <= below <= fig.layout.margin.t - 60
        assert second.pad.l > 8 * len("Task: MNLI (stand-in)")


def test_what_cannot_be_switched_is_named(tables):
    with pytest.raises(ValueError, match=r"title\.text depends on both menus.*title="):
        figures.switchable(spectrum(tables), CHOICES)
    with pytest.raises(ValueError, match="one or two menus"):
        figures.switchable(bars(tables), CHOICES | {"Model": ["hybrid"]})
    with pytest.raises(ValueError, match="one or two menus"):
        figures.switchable(bars(tables), {"Task": []})

    def uneven(task, pooling):
        fig = go.Figure(go.Bar(name="hybrid", y=[1.0]))
        return fig.add_bar(name="mlm", y=[2.0]) if pooling == "max" else fig

    with pytest.raises(ValueError, match=r"SST-2, max: 2 traces where mean has 1.*'mlm'"):
        figures.switchable(uneven, CHOICES)
