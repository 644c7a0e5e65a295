"""Arms at equal loss, from made-up snapshots whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from predrecon.audit.snapshots import at_equal_nats
from predrecon.audit.statistics import student_interval

NATS = {"hybrid": [-1.0, 0.1, 0.5, 0.9, 1.2], "mlm": [0.3, 0.8, 1.5, 1.8, 2.0]}


def snapshots(gap, nats=NATS, *, seeds=3, noise=0.0, tasks=("t",)):
    """uniformity = -2 nats + gap for the hybrid: what is learned alone would give a gap as well."""
    draw, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        for condition, curve in nats.items():
            shift = (gap + noise * draw.normal()) * (condition == "hybrid")
            for step, learned in enumerate(curve, start=1):
                labels = {"condition": condition, "title": condition, "seed": seed, "step": step}
                for task in tasks:
                    values = {"below_unigram": learned, "uniformity": -2 * learned + shift}
                    values["validation_mlm"] = 7 - learned
                    rows += [
                        labels | {"task": task, "metric": m, "value": values[m]} for m in values
                    ]
            start = {"condition": condition, "title": condition, "seed": seed, "step": 0}
            rows += [start | {"task": task, "metric": "uniformity", "value": 50} for task in tasks]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("gap", [0.0, -0.4])
def test_what_is_learned_alone_makes_no_difference_at_equal_loss(gap):
    table = at_equal_nats(snapshots(gap, noise=0.01, seeds=5))
    assert list(table) == ["level", "metric", "value", "low", "high", "seeds"]
    assert (table["metric"] == "uniformity").all() and (table["seeds"] == 5).all()
    assert table["level"].tolist() == pytest.approx([0.6, 0.9, 1.2]), "from 0.3 up to 1.2 nats"
    assert (table["low"] < gap).all() and (gap < table["high"]).all()
    assert (table["high"] - table["low"] < 0.1).all()
    ends = snapshots(gap).query("step == 5 and metric == 'uniformity'").groupby("condition")
    assert np.diff(ends["value"].mean())[0] == pytest.approx(-1.6 - gap), "which the ends would"


def test_a_metric_between_snapshots_lies_on_their_line():
    table = snapshots(0.0, {"hybrid": [-1.0, 1.0], "mlm": [-1.0, 3.0]}, seeds=2)
    shape = table["metric"] == "uniformity"
    table.loc[shape, "value"] = table["step"].map({0: 50.0, 1: 0.0, 2: -4.0})[shape]
    assert at_equal_nats(table, levels=2)["value"].tolist() == [-3 - -1.5, -4 - -2]


def test_a_curve_that_falls_back_is_read_where_it_first_rises():
    nats = {"hybrid": [-1.0, 1.0, 0.2, 1.2], "mlm": [-1.0, 0.4, 0.8, 1.2]}
    table = snapshots(0.0, nats, seeds=1)
    late = table.eval("condition == 'hybrid' and step > 2 and metric == 'uniformity'")
    table.loc[late, "value"] = 99.0
    rows = at_equal_nats(table)
    assert rows["level"].tolist() == pytest.approx([0.4, 0.8, 1.2])
    assert rows["value"].tolist()[:2] == pytest.approx([0.0, 0.0])
    assert np.isinf(rows["low"]).all(), "one seed has no interval"


def test_seeds_have_levels_of_their_own():
    table = snapshots(0.0, seeds=3)
    later = table.eval("seed == 1 and metric == 'below_unigram'")
    table.loc[later, "value"] += 0.3
    twice = table.eval("seed == 2 and condition == 'mlm' and metric == 'uniformity'")
    table.loc[twice, "value"] *= 2
    rows = at_equal_nats(table, levels=1)
    assert rows["level"].item() == pytest.approx((1.2 + 1.5 + 1.2) / 3)
    interval = student_interval([0, 0, 2.4])
    assert (rows["value"].item(), rows["high"].item()) == pytest.approx((0.8, interval.high))


def test_seeds_without_a_common_level_are_left_out():
    apart = {"hybrid": [-1.0, -0.5, -0.1], "mlm": [-1.0, 0.5, 1.0]}
    nothing = at_equal_nats(snapshots(0.0, apart))
    assert nothing.empty and "level" in nothing, "one arm never left word frequencies"
    assert at_equal_nats(snapshots(0.0).query("condition == 'mlm'")).empty
    assert at_equal_nats(pd.DataFrame()).empty
    some = pd.concat([snapshots(0.0, seeds=2), snapshots(0.0, apart, seeds=1).assign(seed=2)])
    assert (at_equal_nats(some)["seeds"] == 2).all()


def test_several_tasks_are_averaged():
    one, two = (at_equal_nats(snapshots(-0.4, tasks=tasks)) for tasks in (("a",), ("a", "b")))
    pd.testing.assert_frame_equal(one, two)
