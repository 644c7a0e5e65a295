"""Contrasts of the grid on made-up numbers whose answer is known, and on trained smoke runs."""

import numpy as np
import pandas as pd
import pytest

from predrecon import figures, grid, references, why
from predrecon.tasks import Task, load_task


def ends(seeds=3, effect=0.3):
    """MLM-only at -1, the hybrid lower by `effect`, token scale adds 1 to both; noise by seed."""
    draw, rows = np.random.default_rng(0), []
    for seed in range(seeds):
        for task in ("a", "b", "c"):
            shared = draw.normal()
            for condition, value in {
                "hybrid": -1 - effect,
                "mlm": -1,
                "hybrid-sqrt": -2 - effect,
                "mlm-sqrt": -2,
            }.items():
                facts = {"condition": condition, "title": condition, "seed": seed, "task": task}
                value += shared + 0.01 * draw.normal()
                rows.append(facts | {"metric": "uniformity", "value": value})
    return pd.DataFrame(rows)


def test_contrasts_find_what_was_put_in():
    gaps = why.contrasts(ends()).set_index("contrast")
    assert set(gaps.index) == {
        "objective",
        "objective, tokens × √D",
        "token scale, hybrid",
        "token scale, MLM-only",
    }, "only those whose both sides are there"
    for name, value in (("objective", -0.3), ("token scale, hybrid", -1.0)):
        row = gaps.loc[name]
        assert row["low"] < value < row["high"] and row["high"] - row["low"] < 0.1
        assert row["seeds"] == 3 and row["p_corrected"] < 0.05 and row["same_sign"] == 1
    text = why.contrast_table(why.contrasts(ends()))
    assert text.loc["objective", "uniformity"].endswith("] *")


def test_one_seed_has_no_interval():
    gaps = why.contrasts(ends(1))
    assert np.isinf(gaps["low"]).all()
    assert why.contrast_table(gaps)["uniformity"].str.contains(r"\(1 seed\)").all()
    assert len(figures.contrasts(gaps).data) == 1


def test_seeds_that_lack_a_side_do_not_count():
    table = ends(3)
    gone = (table["condition"] == "mlm") & (table["seed"] == 2)
    gaps = why.contrasts(table[~gone]).set_index("contrast")
    assert gaps.loc["objective", "seeds"] == 2 and gaps.loc["token scale, hybrid", "seeds"] == 3


def test_without_runs_everything_is_empty_and_nothing_fails(corpus):
    cells = grid.cells(why_base(), corpus, range(2), ("hybrid", "mlm"))
    table = why.inventory(cells, {})
    assert (table["nats below word frequencies"] == "not trained").all()
    assert why.costs({}).empty and why.beside_references({}, [], corpus.tokenizer).empty
    nothing = why.endpoints({}, [], corpus.tokenizer)
    assert why.endpoint_table(nothing).empty
    assert why.contrasts(nothing).empty and why.contrast_table(why.contrasts(nothing)).empty


def why_base():
    from predrecon import recipes

    return recipes.get("smoke")


def test_trained_runs_end_in_tables(smoke_runs, corpus):
    cells = grid.cells(why_base(), corpus, [0], ("hybrid", "mlm"))
    found = {cell: smoke_runs[cell.condition] for cell in cells}
    task = load_task("docs-swap")
    fields = (task.name, task.title, task.metric, task.classes, 2)
    short = Task(*fields, train=task.train.head(60), validation=task.validation.head(150))
    told = why.endpoints(found, [short], corpus.tokenizer)
    assert set(told["metric"]) == set(why.SHOWN)
    assert why.endpoint_table(told).shape == (2, 1 + len(why.SHOWN))
    assert why.costs(found)["times MLM-only"].iloc[0] > 1.3
    beside = why.beside_references(found, [short], corpus.tokenizer)
    assert {"hybrid", "MLM-only", "untrained"} <= set(beside.index)
    assert (beside.loc[["hybrid", "untrained"], "D"] == 32).all()
    assert ("MiniLM" in beside.index) == bool(references.installed())


def test_a_known_good_encoder_is_used_only_if_installed(monkeypatch):
    monkeypatch.setattr(references.importlib.util, "find_spec", lambda name: None)
    assert references.installed() == []


@pytest.mark.skipif(not references.installed(), reason="needs predrecon[minilm]")
def test_minilm_is_more_uniform_than_any_untrained_encoder(corpus):
    from predrecon import metrics
    from predrecon.pooling import embed

    (minilm,) = references.installed()
    texts = load_task("docs-library").validation.first[:60]
    z = embed(minilm.encoder, minilm.tokenizer, texts, poolings=("mean",))["mean"]
    assert z.shape == (60, 384) and metrics.uniformity(z) < -2
