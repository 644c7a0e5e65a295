"""The shared look: colours told apart without hue, one header, axes that hold what they should."""

import itertools

import numpy as np
import pandas as pd
import pytest

from predrecon.audit.grid import CONDITIONS
from predrecon.workbook import figures
from predrecon.workbook.figures import gallery, panels, style, training


def lightness(color: str) -> float:
    """CIE L* of a hex colour, from 0 (black) to 100 (white)."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(y) - 16 if y > 0.008856 else 903.3 * y


def test_arms_and_first_classes_are_told_apart_in_greyscale():
    assert abs(lightness(style.COLORS["hybrid"]) - lightness(style.COLORS["mlm"])) > 20
    for one, two in itertools.pairwise(style.CLASSES[:4]):
        assert abs(lightness(one) - lightness(two)) > 15
    assert not set(style.CLASSES) & {style.COLORS["hybrid"], style.COLORS["mlm"]}


@pytest.mark.parametrize("model", ["hybrid", "mlm"])
def test_published_models_differ_in_more_than_colour(model):
    ours, theirs = model, f"published {model}"
    assert style.stroke(ours)["color"] == style.stroke(theirs)["color"]
    assert (style.stroke(ours)["dash"], style.stroke(theirs)["dash"]) == ("solid", "dot")
    assert "pattern" in style.fill(theirs) and "pattern" not in style.fill(ours)
    assert style.point(theirs)["symbol"] == style.point(ours)["symbol"] + "-open"


def table() -> pd.DataFrame:
    rows = [
        dict(title=title, pooling="mean", metric=metric, model=model, value=0.5, low=low, high=high)
        for title in ("SST-2", "MNLI (stand-in)")
        for metric in ("spectral_entropy", "effective_rank", "uniformity")
        for model, low, high in (
            ("hybrid", 0.4, 0.6),
            ("mlm", -20.0, 20.0),
            ("published hybrid", np.nan, np.nan),
        )
        if (metric, model) != ("spectral_entropy", "published hybrid")
    ]
    return pd.DataFrame(rows)


def test_bars_name_every_model_once_and_draw_no_interval_where_there_is_none():
    fig = figures.metric_bars(table(), "mean")
    named = [trace.name for trace in fig.data if trace.showlegend]
    assert named == ["hybrid", "MLM-only", "hybrid, published"], "also one the first panel lacks"
    for trace in fig.data:
        assert trace.error_y.visible == ("published" not in trace.name)
        assert list(trace.x) == ["SST-2", "MNLI<br>(stand-in)"]


def test_wide_intervals_do_not_press_the_values_into_a_line():
    fig = figures.metric_bars(table(), "mean")
    low, high = fig.layout.yaxis.range
    assert -0.6 < low < 0 and 0.6 < high < 1.1, "20 to either side is cut, 0.4 to 0.6 is not"
    narrow = pd.DataFrame({"value": [1.0, 2.0], "low": [0.9, 1.8], "high": [1.1, 2.2]})
    low, high = panels.view(narrow)
    assert low < 0.9 and high > 2.2
    low, _ = panels.view(narrow, zero=True)
    assert low == 0
    assert panels.view(narrow.assign(value=np.nan, low=np.nan, high=np.nan)) is None


def test_header_holds_title_caption_legend_and_panel_titles():
    """Nothing overlaps: each has its own pixels, and more legend makes the figure higher."""
    short = figures.metric_bars(table(), "mean")
    table_of_many = pd.DataFrame(
        [
            dict(task="T", pooling="mean", condition=condition, seed=0,
                 title=f"{condition}, a long name of a condition", step=step, tokens=step,
                 flops=step, metric="uniformity", value=-0.1 * step)
            for condition in ("hybrid", "hybrid-a", "mlm", "mlm-a", "mlm-b") for step in (0, 1)
        ]
    )  # fmt: skip
    long = figures.trajectories(table_of_many)
    for fig, rows in ((short, 1), (long, 3)):
        height, top, legend = fig.layout.height, fig.layout.margin.t, fig.layout.legend
        assert fig.layout.template.layout.font == style.TEMPLATE.layout.font
        start = (1 - legend.y) * height
        assert (legend.yref, legend.yanchor) == ("container", "top")
        assert start > 12 + 15 + 11 + 10, "below title and caption"
        assert top >= start + 24 * rows + 16, "above the panels' titles"


def test_every_metric_says_what_its_direction_means():
    for metric in panels.METRICS:
        assert "(higher is " in panels.titled(metric) or "(lower is " in panels.titled(metric)
    assert panels.titled("some_metric") == "some metric"


def test_a_pair_is_a_forest_of_its_own_rows_and_names_what_it_leaves_out():
    gaps = pd.DataFrame(
        dict(one="a", other=other, pooling=pooling, title=title, metric=metric,
             value=np.nan if metric == "effective_rank" and other == "c" else gap,
             low=gap - 0.1, high=gap + 0.2, dim=32, other_dim=64 if other == "c" else 32)
        for metric in ("effective_rank", "alignment", "probe_gap", "uniformity")
        for other, gap in (("b", 0.3), ("c", -0.5))
        for pooling, title in (("mean", "SST-2"), ("mean", "MNLI (stand-in)"), ("max", "SST-2"))
    )  # fmt: skip
    equal, apart = (figures.pair_differences(gaps, "a", other, "mean") for other in "bc")
    assert "right of 0: the first is higher" in equal.layout.title.text
    for fig, gap in ((equal, 0.3), (apart, -0.5)):
        shown = [trace for trace in fig.data if len(trace.x)]
        assert all(list(trace.y) == ["SST-2", "MNLI<br>(stand-in)"] for trace in shown)
        np.testing.assert_allclose(shown[-1].x, gap)
        np.testing.assert_allclose(shown[-1].error_x.array, 0.2)
        np.testing.assert_allclose(shown[-1].error_x.arrayminus, 0.1)
    notes = [[n.text for n in fig.layout.annotations if "D = " in n.text] for fig in (equal, apart)]
    assert notes == [[], ["not compared:<br>D = 32 and 64"]]
    layout = equal.layout.to_plotly_json()
    axes = {name for name in layout if name[1:5] == "axis"}
    drawn = {f"{axis}axis{n}" for axis in "xy" for n in ("", 2, 3, 4)}
    assert axes == drawn, "four panels of six places: a menu fails on axes that are not drawn"
    heads = [note.text for note in equal.layout.annotations]
    assert heads[:2] == [
        "effective rank<br>(higher is richer)",
        "alignment, Eq. 14<br>(lower is tighter)",
    ]


def test_conditions_are_told_apart_by_colour_and_symbol():
    rows = [
        dict(task="T", pooling="mean", condition=c, title=title, seed=0, step=step, tokens=step,
             metric="uniformity", value=1)
        for c, (title, _) in CONDITIONS.items() for step in (0, 1)
    ]  # fmt: skip
    fig = figures.trajectories(pd.DataFrame(rows))
    named = [t for t in fig.data if t.showlegend]
    assert len(named) == len(CONDITIONS)
    hybrids = [t for t in named if t.name.startswith("hybrid")]
    for group in (hybrids, [t for t in named if t not in hybrids]):
        assert len({t.marker.symbol for t in group}) == len(group)
    shades = [lightness(t.line.color) for t in hybrids if "λ = " in t.name]
    assert all(one - two > 15 for one, two in itertools.pairwise(shades)), "darker as λ grows"


def test_every_seed_has_its_spectrum_and_every_model_one_entry():
    parts = [
        dict(task="t", pooling="mean", model=model, seed=seed, rank=rank, share=0.5, cumulative=1)
        for model in ("hybrid", "mlm") for seed in (0, 1, 2) for rank in (1, 2)
    ]  # fmt: skip
    ours = pd.DataFrame(parts)
    theirs = ours[ours["seed"] == 0].drop(columns="seed")
    theirs = theirs.assign(model="published " + theirs["model"])
    fig = figures.eigenspectra(ours, "t", "mean", "T", theirs)
    assert len(fig.data) == 2 * (2 * 3 + 2), "two panels"
    named = [t.name for t in fig.data if t.showlegend]
    assert named == ["hybrid", "MLM-only", "hybrid, published", "MLM-only, published"]


def test_a_figure_of_fewer_seeds_says_so(monkeypatch):
    monkeypatch.setattr(gallery, "show", lambda fig: None)
    both = figures.Gallery("tag", "seeds 0, 1")
    for stem, caption in (("all", None), ("one", "seed 0")):
        both.show(stem, figures.metric_bars(table(), "mean"), table(), caption=caption)
    captions = {stem: fig.layout.title.subtitle.text for stem, (fig, _) in both.entries.items()}
    assert captions == {"all": "seeds 0, 1", "one": "seed 0"}


def test_the_plateau_states_what_is_drawn_and_nothing_more():
    runs = pd.DataFrame(
        dict(condition=["hybrid", "mlm", "mlm"], title=["hybrid", "MLM-only", "MLM-only"],
             seed=[0, 0, 1], below_unigram=[0.3, 0.2, 0.1], uniformity=[-0.3, -0.2, -0.1])
    )  # fmt: skip
    title = figures.plateau(runs).layout.title.text
    assert title.endswith("(3 runs, rank correlation −1.00)")
    assert figures.plateau(runs.head(2)).layout.title.text.endswith("(2 runs)")
    stuck = runs.assign(below_unigram=[0.3, 0.2, 0.0])
    assert figures.plateau(stuck).layout.title.text.endswith("2 runs; 1 on the plateau left out)")
    all_stuck = figures.plateau(runs.assign(below_unigram=[0.03, 0.02, 0.01]))
    assert "3 runs" in all_stuck.layout.title.text
    for nothing in (runs.head(0), pd.DataFrame(), runs.drop(columns="below_unigram")):
        with pytest.raises(ValueError, match="expected a run or more with below_unigram"):
            figures.plateau(nothing)


def test_what_the_monitor_saw_is_marked_on_the_loss():
    states = ["starting", None, "plateau", "collapse to a point", "healthy"]
    numbers = dict(step=range(5), tokens=range(5), mlm_loss=[5.0, 4, 3, 2, 1], state=states)
    fig = training.training_view({"a run": pd.DataFrame(numbers)}, {"a run": "mlm"})
    marks = {t.name: (t.y[0], t.hovertext) for t in fig.data if t.mode == "markers"}
    expected = {"plateau": (3, "a run: plateau")}
    assert marks == expected | {"collapse to a point": (2, "a run: collapse to a point")}


def test_uniformity_near_zero_is_not_in_micro_units():
    history = pd.DataFrame(dict(step=[1, 2], tokens=[1, 2], uniformity=[-7.4e-4, -7.6e-4]))
    fig = training.training_view({"a run": history}, {"a run": "mlm"})
    (panel,) = (t for t in fig.data if t.y[0] == -7.4e-4)
    assert fig.layout[panel.yaxis.replace("y", "yaxis")].exponentformat in ("none", "e")
