"""Means over seeds and paired differences on made-up numbers whose answer is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from predrecon.audit.geometry import BOUNDS, Geometry
from predrecon.audit.seeds import (
    contrast,
    differences,
    headline,
    mean_of_tasks,
    over_seeds,
    with_probes,
)


def made_up(seeds, gap=0.3, noise=0.05, tasks=3, names=("hybrid", "mlm")):
    """uniformity, below 0: a gap between the arms; effective_rank, above 1: none."""
    draw, rows, replicates = np.random.default_rng(7), [], {}
    for task in range(tasks):
        for seed in range(seeds):
            shared = draw.normal(size=200) * 0.2  # both encoders see the same bootstrap samples
            for name in names:
                for metric, level, shift in (("uniformity", -1, gap), ("effective_rank", 9, 0.0)):
                    value = (
                        level - task - (shift if name == "hybrid" else 0) + noise * draw.normal()
                    )
                    spread = value + shared + 0.01 * draw.normal(size=200)
                    key = f"t{task}", "mean", name, seed, metric
                    replicates[key] = spread
                    rows.append(
                        {"task": f"t{task}", "title": f"T{task}", "pooling": "mean", "model": name}
                        | {"seed": seed, "metric": metric, "value": value, "n": 50, "dim": 8}
                        | {"low": value - 0.4, "high": value + 0.4, "note": ""}
                    )
    return Geometry(pd.DataFrame(rows), {}, replicates)


def test_one_seed_keeps_its_interval_over_samples():
    table = over_seeds(made_up(1).table)
    assert (table["basis"] == "samples").all() and (table["seeds"] == 1).all()
    assert np.allclose(table["high"] - table["value"], 0.4)


def test_several_seeds_get_students_interval():
    geometry = made_up(4)
    table = over_seeds(geometry.table).set_index(["task", "model", "metric"])
    cell = geometry.table.query("task == 't1' and model == 'mlm' and metric == 'uniformity'")
    values = cell["value"].to_numpy()
    logs = np.log(-values)
    low, high = stats.t.interval(0.95, 3, logs.mean(), stats.sem(logs))
    row = table.loc[("t1", "mlm", "uniformity")]
    expected = -np.exp([logs.mean(), high, low])
    assert row[["value", "low", "high"]].tolist() == pytest.approx(expected.tolist())
    assert row["basis"] == "seeds"


def test_a_paired_difference_is_surer_than_its_parts():
    """What both encoders share drops out: 0.014 of spread is left of 0.2."""
    table = differences(made_up(1, noise=0.0))
    cell = table[table["metric"] == "uniformity"]
    assert np.allclose(cell["value"], -0.3)
    assert ((cell["high"] - cell["low"]) < 0.08).all() and (cell["high"] < 0).all()


def test_the_headline_finds_the_gap_and_only_the_gap():
    table = headline(made_up(8)).set_index("metric")
    gap, none = table.loc["uniformity"], table.loc["effective_rank"]
    assert gap["high"] < 0 and gap["p"] == 2 / 2**8 and gap["same_sign"] == 1
    assert none["low"] < 0 < none["high"] and none["p_corrected"] > 0.05
    assert gap["p_corrected"] == 2 * gap["p"] and (table["p_corrected"] >= table["p"]).all()


def test_seeds_are_the_units_not_tasks():
    """Two encoders without an effect that differ on all five tasks alike, as a seed makes them."""
    draw, cries, calls = np.random.default_rng(3), 0, 150
    for _ in range(calls):
        rows, bias = [], {(s, m): draw.normal() for s in range(6) for m in ("hybrid", "mlm")}
        for (seed, model), shared in bias.items():
            for task in range(5):
                value = shared + 0.3 * draw.normal()
                facts = {"task": f"t{task}", "title": f"T{task}", "pooling": "mean"}
                rows.append(facts | {"model": model, "seed": seed, "metric": "m", "value": value})
        cries += headline(Geometry(pd.DataFrame(rows), {}, {}))["p"].iloc[0] < 0.05
    assert cries / calls <= 0.08, "2 of 64 sign patterns are that rare; tasks x seeds: 0.4"


def test_one_seed_in_the_headline_averages_tasks():
    one = headline(made_up(1, noise=0.0)).set_index("metric").loc["uniformity"]
    assert one["value"] == pytest.approx(-0.3) and one["basis"] == "samples"
    assert one["p"] == 1, "of training seeds one pair of encoders says nothing"


def test_the_mean_of_tasks_has_the_interval_of_its_seeds_or_of_its_texts():
    rows = made_up(1).table.query("model == 'mlm' and metric == 'uniformity'")
    one_seed, seeds = mean_of_tasks(rows)
    assert seeds == 1 and one_seed.high - one_seed.value == pytest.approx(0.4 / np.sqrt(3))
    rows = made_up(3).table.query("model == 'mlm' and metric == 'uniformity'")
    three_seeds, seeds = mean_of_tasks(rows)
    means = np.log(-rows.groupby("seed")["value"].mean())
    _, high = stats.t.interval(0.95, 2, means.mean(), stats.sem(means))
    assert seeds == 3 and three_seeds.low == pytest.approx(-np.exp(high))


def test_no_interval_over_seeds_leaves_what_its_metric_can_be():
    """Three seeds far apart in every metric, within its bounds."""
    draw, rows = np.random.default_rng(2), []
    for (metric, (low, high)), seed in itertools.product(BOUNDS.items(), range(3)):
        end, width = (high, -1) if np.isinf(low) else (low, min(high - low, 40))
        facts = {"task": "t", "title": "T", "pooling": "mean", "model": "mlm", "seed": seed}
        facts |= {"metric": metric, "low": np.nan, "high": np.nan, "n": 50}
        rows.append(facts | {"value": end + width * draw.beta(0.3, 0.3)})
    table = pd.DataFrame(rows)
    for row in over_seeds(table).to_dict("records"):
        low, high = BOUNDS[row["metric"]]
        assert low <= row["low"] < row["value"] < row["high"] <= high, row
        interval, _ = mean_of_tasks(table[table["metric"] == row["metric"]])
        assert (interval.low, interval.high) == (row["low"], row["high"])


def test_every_measured_metric_has_bounds(geometry):
    table = geometry.table
    assert set(table["metric"]) <= set(BOUNDS)
    low, high = (table["metric"].map(lambda m, end=end: BOUNDS[m][end]) for end in (0, 1))
    assert (low <= table["value"]).all() and (table["value"] <= high).all()


def test_arms_without_a_common_seed_are_named():
    table = made_up(2).table
    apart = table[(table["model"] == "hybrid") == (table["seed"] == 0)]
    for function in (headline, differences):
        with pytest.raises(ValueError, match="no seed has both"):
            function(Geometry(apart, {}, {}))


def test_a_run_without_its_partner_is_named():
    with pytest.raises(ValueError, match=r"hybrid - mlm: no seed has both\. Here are: hybrid"):
        differences(made_up(2, names=("hybrid",)))


def test_arms_without_a_common_task_are_named():
    """Common seeds, no common task: this once gave an empty frame without its columns."""
    table = made_up(2).table
    apart = table[(table["model"] == "hybrid") == (table["task"] == "t0")]
    message = r"no seed has both on the same tasks\. Here are: hybrid \(t0\), mlm \(t1, t2\)\."
    for function in (headline, differences):
        with pytest.raises(ValueError, match=message):
            function(Geometry(apart, {}, {}))
    with pytest.raises(ValueError, match="no seed has both sides on t0, t1, t2"):
        contrast(Geometry(apart, {}, {}), "uniformity", ("hybrid", "mean"), ("mlm", "mean"))


def test_seeds_that_share_no_task_with_each_other_have_no_headline():
    """Seed 0 has both arms on t0, seed 1 on t1: differences by task, but no mean of tasks."""
    table = made_up(2, tasks=2).table
    crossed = Geometry(table[table["task"] == "t" + table["seed"].astype(str)], {}, {})
    assert len(differences(crossed)) == 2 * 2 and (differences(crossed)["seeds"] == 1).all()
    with pytest.raises(ValueError, match="no seed has both on the same tasks"):
        headline(crossed)


def test_metrics_that_were_not_measured_are_named():
    with pytest.raises(
        ValueError, match=r"metrics=rank, mcc: not measured\. Here are: uniformity, "
    ):
        headline(made_up(2), metrics=("rank", "mcc"))
    assert list(headline(made_up(2), metrics=("uniformity", "mcc"))["metric"]) == ["uniformity"]
    with pytest.raises(ValueError, match="no seed has both sides on any task"):
        contrast(made_up(2), "rank", ("hybrid", "mean"), ("mlm", "mean"))


def test_tables_without_rows_are_an_error():
    nothing = made_up(1).table.head(0)
    with pytest.raises(ValueError, match="no rows: there is nothing to average over seeds"):
        over_seeds(nothing)
    with pytest.raises(ValueError, match="no rows: there is no mean over tasks"):
        mean_of_tasks(nothing)
    for function in (headline, differences):
        with pytest.raises(ValueError, match="no seed has both"):
            function(Geometry(nothing, {}, {}))


def test_seeds_are_paired_not_mixed():
    geometry = made_up(3)
    without_partner = (geometry.table["model"] == "mlm") & (geometry.table["seed"] == 2)
    table = differences(Geometry(geometry.table[~without_partner], {}, geometry.replicates))
    assert (table["seeds"] == 2).all()


def test_a_contrast_is_the_difference_of_two_sides():
    """Between models it is the headline's number; paired, so that what is shared drops out."""
    for seeds in (1, 4):
        geometry = made_up(seeds)
        one, other = ("hybrid", "mean"), ("mlm", "mean")
        interval, n = contrast(geometry, "uniformity", one, other)
        row = headline(geometry).set_index("metric").loc["uniformity"]
        assert n == seeds
        assert (interval.value, interval.low) == pytest.approx((row["value"], row["low"]))
    of_one_task, _ = contrast(made_up(3), "uniformity", one, other, tasks=["t1"])
    cell = differences(made_up(3)).query("task == 't1' and metric == 'uniformity'").iloc[0]
    assert (of_one_task.value, of_one_task.high) == pytest.approx((cell["value"], cell["high"]))


def test_a_contrast_of_logarithms_is_a_ratio():
    geometry = made_up(3, gap=0.0, noise=0.0)
    table = geometry.table
    table = table.assign(value=np.where(table["model"] == "hybrid", 7, 1) * table["value"])
    interval, _ = contrast(
        Geometry(table, {}, {}), "uniformity", ("hybrid", "mean"), ("mlm", "mean"), log=True
    )
    assert interval.value == pytest.approx(np.log(7))


def test_a_contrast_without_a_side_names_it():
    with pytest.raises(ValueError, match="uniformity, hybrid/max - mlm/max: no seed has both"):
        contrast(made_up(2), "uniformity", ("hybrid", "max"), ("mlm", "max"))


def test_probes_join_the_geometry():
    geometry = made_up(1)
    probed = pd.DataFrame(
        {"task": ["t0"] * 3, "title": ["T0"] * 3, "model": ["hybrid", "mlm", "majority"]}
        | {"seed": [0, 0, np.nan], "score": [0.7, 0.6, 0.5], "low": [0.65, 0.56, np.nan]}
        | {"high": [0.75, 0.64, np.nan], "n": [100] * 3, "note": [""] * 3}
    )
    both = with_probes(geometry, probed)
    interval, seeds = contrast(both, "linear_probe", ("hybrid", "mean"), ("mlm", "mean"))
    assert seeds == 1 and interval.value == pytest.approx(0.1)
    assert interval.high - interval.value == pytest.approx(np.hypot(0.05, 0.04))
