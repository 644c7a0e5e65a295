"""The objective's share at equal loss, on made-up runs whose answer is known."""

import numpy as np
import pandas as pd
import pytest

from predrecon.audit import plateau
from predrecon.workbook import figures, tables


def made_up(
    objective, seeds=4, noise=0.0, conditions=("hybrid", "mlm", "published", "published-mlm")
):
    """uniformity = -0.1 - 3 nats + objective for the hybrid; the hybrid is 0.1 nats ahead."""
    draw, rows = np.random.default_rng(1), []
    for seed in range(seeds):
        for condition in conditions:
            hybrid = not condition.endswith("mlm")
            nats = 0.1 * hybrid + 0.2 * condition.startswith("published") + 0.05 * draw.random()
            value = -0.1 - 3 * nats + objective * hybrid + noise * draw.normal()
            facts = {"condition": condition, "title": condition, "seed": seed}
            rows.append(facts | {"task": "", "metric": "below_unigram", "value": nats})
            for task in ("a", "b"):
                rows.append(facts | {"task": task, "metric": "uniformity", "value": value})
    return pd.DataFrame(rows)


def test_what_the_loss_explains_is_not_given_to_the_objective():
    row = plateau.at_equal_loss(made_up(0.0, noise=0.02), ("uniformity",)).iloc[0]
    assert row["low"] < 0 < row["high"] and row["high"] - row["low"] < 0.2
    assert row["rho_low"] < row["rho"] < row["rho_high"] < -0.8 and row["runs"] == 16
    gap = plateau.per_run(made_up(0.0)).groupby("arm")["uniformity"].mean()
    assert gap["hybrid"] - gap["mlm"] < -0.25, "which the raw difference would do"


def test_what_the_objective_adds_is_found_with_its_interval():
    row = plateau.at_equal_loss(made_up(-0.3, noise=0.02), ("uniformity",)).iloc[0]
    assert row["low"] < -0.3 < row["high"] < -0.2
    exact = plateau.at_equal_loss(made_up(-0.3), ("uniformity",)).iloc[0]
    assert exact["value"] == pytest.approx(-0.3)


def test_what_lies_between_conditions_is_told_apart_from_what_lies_within():
    """Conditions on a line, runs of one condition at random around it."""
    table, draw = made_up(0.0, seeds=6), np.random.default_rng(5)
    task = table["metric"] == "uniformity"
    level = table["condition"].map(
        {"hybrid": 0.1, "mlm": 0, "published": 0.3, "published-mlm": 0.2}
    )
    noise = pd.Series(draw.normal(size=len(table)), index=table.index)
    run = table["condition"] + table["seed"].astype(str)
    noise = noise.groupby(run).transform("first")
    table.loc[task, "value"] = (-10 * level + 0.1 * noise)[task]
    rows = plateau.at_equal_loss(table, ("uniformity",)).set_index("among")
    assert rows.loc["all runs", "rho"] < -0.85
    assert rows.loc[plateau.WITHIN, "rho_low"] < 0 < rows.loc[plateau.WITHIN, "rho_high"]
    assert np.isnan(rows.loc[plateau.WITHIN, "value"])
    assert rows.loc["but those as published", "runs"] == rows.loc["as published", "runs"] == 12


def test_what_seeds_share_is_told_apart_too():
    """A seed that moves the loss and the metric of all its runs makes both go together."""
    table, draw = made_up(0.0, seeds=6), np.random.default_rng(4)
    shift = table["seed"].map(dict(enumerate(draw.normal(size=6))))
    noise = pd.Series(draw.normal(size=len(table)), index=table.index)
    run = table["condition"] + table["seed"].astype(str)
    noise = noise.groupby(run).transform("first")
    loss = table["metric"] == "below_unigram"
    table.loc[loss, "value"] += 5 * shift[loss]
    table.loc[~loss, "value"] = (-5 * shift + 0.5 * noise)[~loss]
    rows = plateau.at_equal_loss(table, ("uniformity",)).set_index("among")
    assert rows.loc[plateau.WITHIN, "rho"] < -0.9
    assert rows.loc[plateau.BOTH, "rho_low"] < 0 < rows.loc[plateau.BOTH, "rho_high"]
    rows = plateau.at_equal_loss(table[(table["seed"] < 2) | (table["condition"] == "mlm")])
    assert (rows[rows["among"] == plateau.BOTH]["runs"] == 6).all(), "of complete conditions only"


def test_its_interval_covers_the_truth_as_often_as_it_says():
    draw, hits = np.random.default_rng(0), 0
    arms = np.arange(12) % 2
    for _ in range(400):
        nats = draw.random(12)
        x = np.column_stack([np.ones(12), nats, arms]).astype(float)
        interval = plateau.last_coefficient(x, 1 - 2 * nats + 0.5 * arms + draw.normal(size=12))
        hits += interval.low <= 0.5 <= interval.high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize("conditions", [("hybrid",), ("hybrid", "mlm")])
def test_too_few_runs_or_one_arm_have_no_interval(conditions):
    few = made_up(0.0, seeds=1 if len(conditions) > 1 else 6, conditions=conditions)
    row = plateau.at_equal_loss(few, ("uniformity",)).iloc[0]
    assert np.isnan(row["value"]) and np.isnan(row["low"])


def test_a_few_runs_in_perfect_order_are_not_taken_for_certainty():
    table = plateau.at_equal_loss(made_up(0.0, seeds=3), ("uniformity",))
    assert (
        tables.equal_loss_table(table).iloc[0]["rank correlation with nats"] == "-1.00, no interval"
    )
    row = table.iloc[0]
    assert row["rho"] == -1 and row[["rho_low", "rho_high"]].isna().all()
    row = plateau.at_equal_loss(made_up(0.0, seeds=3, noise=0.2), ("uniformity",)).iloc[0]
    assert row["rho_low"] < row["rho"] < row["rho_high"]


def test_the_picture_has_a_point_a_run():
    runs = plateau.per_run(made_up(0.0)).assign(equal_length=-0.1)
    runs["below_unigram"] += 0.1  # off the plateau
    fig = figures.plateau(runs)
    assert sum(len(t.x) for t in fig.data) == 2 * 16
    assert len({t.marker.color for t in fig.data}) == 2
