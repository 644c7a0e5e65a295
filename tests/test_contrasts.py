"""Contrasts of the grid on made-up numbers whose answer is known, and on trained smoke runs."""

import numpy as np
import pandas as pd
import pytest

from predrecon import metrics, recipes
from predrecon.audit import contrasts, encoders, grid, length, plateau
from predrecon.audit.geometry import measure
from predrecon.audit.statistics import (
    bootstrap_counts,
    detectable_effect,
    half_width,
    seeds_needed,
)
from predrecon.data.tasks import Task, load_task
from predrecon.workbook import figures, tables


def made_up(seeds=3, effect=0.3):
    """MLM-only at -1, the hybrid lower by `effect`, as published both at 1 more; noise by seed."""
    draw, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        for task in ("a", "b", "c"):
            shared = draw.normal()
            for condition, value in {
                "hybrid": -1 - effect,
                "mlm": -1,
                "published": 0 - effect,
                "published-mlm": 0,
            }.items():
                facts = {"condition": condition, "title": condition, "seed": seed, "task": task}
                value += shared + 0.01 * draw.normal()
                rows.append(facts | {"metric": "uniformity", "value": value})
    return pd.DataFrame(rows)


def test_contrasts_find_what_was_put_in():
    gaps = contrasts.paired_contrasts(made_up()).set_index("contrast")
    assert set(gaps.index) == {
        "objective",
        "objective, as published",
        "architecture, hybrid",
        "architecture, MLM-only",
    }, "only those whose both sides are there"
    for name, value in (("objective", -0.3), ("architecture, hybrid", -1.0)):
        row = gaps.loc[name]
        assert row["low"] < value < row["high"] and row["high"] - row["low"] < 0.1
        assert row["seeds"] == 3 and row["p"] == 0.25 and row["same_sign"] == 1
    text = tables.contrast_table(contrasts.paired_contrasts(made_up()))
    assert text.loc["objective, equal steps", "uniformity"].endswith("]"), (
        "three seeds earn no star"
    )
    text = tables.contrast_table(contrasts.paired_contrasts(made_up(10)))
    assert text.loc["objective, equal steps", "uniformity"].endswith("] *")


def test_contrasts_say_what_so_many_seeds_can_see():
    assert contrasts.published_effects() == pytest.approx(
        {"uniformity": -0.1327, "effective_rank": -4.9964}, abs=1e-4
    )
    table = made_up(4)
    other = table.assign(metric="token_probe")
    gaps = contrasts.paired_contrasts(pd.concat([table, other])).set_index(["contrast", "metric"])
    wide = table.query("condition in ('hybrid', 'mlm')").pivot_table(
        "value", "seed", "condition", aggfunc="mean"
    )
    sd = (wide["hybrid"] - wide["mlm"]).std()
    row = gaps.loc[("objective", "uniformity")]
    assert row["high"] - row["value"] == pytest.approx(half_width(sd, 4))
    assert row["detectable"] == pytest.approx(detectable_effect(sd, 4))
    assert row["seeds_needed"] == seeds_needed(sd, 0.1327) == 2
    assert np.isnan(gaps.loc[("objective", "token_probe"), "seeds_needed"]), "none is published"
    others = gaps["seeds_needed"][~gaps.index.isin([("objective", "uniformity")])]
    assert others.filter(like="architecture", axis=0).isna().all()


def test_one_seed_has_no_interval():
    gaps = contrasts.paired_contrasts(made_up(1))
    assert np.isinf(gaps["detectable"]).all() and gaps["seeds_needed"].isna().all()
    assert np.isinf(gaps["low"]).all()
    assert tables.contrast_table(gaps)["uniformity"].str.contains(r"\(1 seed\)").all()
    assert len(figures.contrasts(gaps).data) == 1


def test_pairs_of_equal_length_have_the_bootstrap_of_their_own_pairs():
    draw = np.random.default_rng(0)
    z, lengths = draw.normal(size=(30, 5)), draw.integers(0, 4, 30)
    counts = bootstrap_counts(30, draws=6)
    u, expected = z / np.linalg.norm(z, axis=1, keepdims=True), []
    for rows in (np.repeat(np.arange(30), w) for w in counts):
        pairs = [(i, j) for i in rows for j in rows if i != j and lengths[i] == lengths[j]]
        expected.append(
            np.log(np.mean([np.exp(-2 * ((u[i] - u[j]) ** 2).sum()) for i, j in pairs]))
        )
    by_weights = metrics.uniformity(z, groups=lengths, weights=counts)
    assert by_weights == pytest.approx(expected, rel=1e-10)
    alike = metrics.uniformity(z, groups=np.zeros(30), weights=counts)
    assert metrics.uniformity(z, weights=counts) == pytest.approx(alike, rel=1e-12)
    interval = length.uniformity(z, lengths)
    assert interval.low < interval.value < interval.high


def test_seeds_that_lack_a_side_do_not_count():
    table = made_up(3)
    gone = (table["condition"] == "mlm") & (table["seed"] == 2)
    gaps = contrasts.paired_contrasts(table[~gone]).set_index("contrast")
    assert gaps.loc["objective", "seeds"] == 2 and gaps.loc["architecture, hybrid", "seeds"] == 3


def test_without_runs_everything_is_empty_and_nothing_fails(corpus):
    cells = grid.cells(recipes.get("smoke"), corpus, range(2), "hybrid,mlm")
    facts = contrasts.training_facts({})
    table = tables.inventory_table(cells, facts)
    assert (table["nats below word frequencies"] == "not trained").all()
    assert (table["planned"] == 2).all() and (table["trained"] == 0).all()
    assert tables.costs_table(facts).empty
    beside = contrasts.with_references({}, [], corpus.tokenizer)
    assert beside.empty and tables.references_table(beside).empty
    nothing = contrasts.endpoints({}, [], corpus.tokenizer)
    assert tables.endpoint_table(nothing).empty
    assert plateau.at_equal_loss(nothing).empty and plateau.per_run(nothing).empty
    assert (
        contrasts.paired_contrasts(nothing).empty
        and tables.contrast_table(contrasts.paired_contrasts(nothing)).empty
    )


def test_trained_runs_end_in_tables(smoke_runs, corpus):
    cells = grid.cells(recipes.get("smoke"), corpus, [0], ("hybrid", "mlm"))
    runs = {cell: smoke_runs[cell.condition] for cell in cells}
    task = load_task("docs-swap")
    fields = (task.name, task.title, task.metric, task.classes, 2)
    short = Task(*fields, train=task.train.head(60), validation=task.validation.head(150))
    endpoints = contrasts.endpoints(runs, [short], corpus.tokenizer)
    assert set(endpoints["metric"]) == set(contrasts.METRICS)
    (cell, run), *_ = runs.items()
    model = encoders.Model("hybrid", run.encoder(), corpus.tokenizer)
    released = measure(model, short, poolings=("mean",), padding="attended", probed=False)
    values = {row["metric"]: row["value"] for row in released.rows}
    rows = endpoints[endpoints["condition"] == cell.condition].set_index("metric")["value"]
    for metric in contrasts.RELEASED:
        assert rows[f"{metric}_released"] == values[metric] != rows[metric]
    table = tables.endpoint_table(endpoints)
    assert table.shape == (2, 1 + len(contrasts.METRICS))
    assert (
        table.drop(columns=["seeds", "below_unigram"]).map(lambda cell: "[" in cell).all(axis=None)
    )
    facts = contrasts.training_facts(runs)
    inventory = tables.inventory_table(cells, facts)
    assert inventory["steps"].tolist() == ["30", "30"] and (inventory["trained"] == 1).all()
    assert inventory["nats below word frequencies"].str.contains(" to ").all()
    assert tables.costs_table(facts)["times MLM-only"].iloc[0] > 1.3
    measured = contrasts.with_references(runs, [short], corpus.tokenizer)
    assert (measured["low"] < measured["high"]).all(), "numbers, not text"
    beside = tables.references_table(measured)
    assert {"hybrid", "MLM-only", "untrained"} <= set(beside.index)
    assert (beside.loc[["hybrid", "untrained"], "D"] == 32).all()
    numbers = beside.drop(columns=["D", "seeds"])
    assert numbers.map(lambda cell: "[" in cell).all(axis=None), "no number without its interval"
    assert ("MiniLM" in beside.index) == bool(encoders.reference_models())
