"""Random and fitted poolers beside the mean; a fitted one finds the token that tells the class."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from predrecon import metrics
from predrecon.audit import encoders, poolers
from predrecon.audit.poolers import FITTED, fit_direction, fitted_directions
from predrecon.data.tasks import load_task
from predrecon.pooling import embed, pool
from predrecon.workbook import figures


@pytest.fixture(scope="module")
def table(smoke_runs, corpus):
    compared = encoders.models(smoke_runs, corpus.tokenizer)
    return poolers.spread(compared, [load_task("docs-relation")], draws=3, max_samples=60)


def test_every_pooler_is_there(table):
    counts = table[table["metric"] == "uniformity"].groupby(["model", "pooler"]).size()
    for model in ("hybrid", "mlm"):
        assert counts[model].to_dict() == {
            "mean": 1, "random attention": 3, "weighted fitted": 1, "attention fitted": 1
        }  # fmt: skip


def test_draw_0_is_the_attention_pooling_of_the_tables(table, smoke_runs, corpus):
    split = load_task("docs-relation").validation.head(60)
    z = embed(smoke_runs["mlm"].encoder(), corpus.tokenizer, split.first, split.second)
    cell = table.query("model == 'mlm' and metric == 'uniformity' and draw == 0")
    values = cell.set_index("pooler")["value"]
    assert values["mean"] == metrics.uniformity(z["mean"])
    assert values["random attention"] == pytest.approx(metrics.uniformity(z["attention"]), abs=1e-9)


def made_up(seeds=(0, 1), models=("hybrid", "mlm"), task="sst2") -> pd.DataFrame:
    """Ratio 3 under mean pooling, 4 of same draws, 2 to 8 of own draws; 2 with fitted poolers."""
    values = {
        "mean": {"hybrid": (-0.3,), "mlm": (-0.1,)},
        "random attention": {"hybrid": (-0.4, -0.8), "mlm": (-0.1, -0.2)},
        "weighted fitted": {"hybrid": (-0.2,), "mlm": (-0.1,)},
        "attention fitted": {"hybrid": (-0.2,), "mlm": (-0.1,)},
    }
    return pd.DataFrame(
        [
            {"task": task, "title": task.upper(), "model": model, "seed": seed, "draw": draw,
             "pooler": pooler, "metric": "uniformity", "value": value, "n": 9}
            for seed in seeds for pooler, arms in values.items() for model in models
            for draw, value in enumerate(arms[model])
        ]
    )  # fmt: skip


def test_ratios_of_same_and_own_draws():
    ratios = poolers.ratios(made_up(seeds=[0])).query("pooler == 'random attention'")
    assert np.allclose(ratios.query("basis == 'same draw'")["ratio"], [4, 4])
    assert sorted(ratios.query("basis == 'own draw'")["ratio"].round(6)) == [2, 4, 4, 8]


def test_the_summary_counts_large_ratios():
    summary = poolers.summary(poolers.ratios(made_up()))
    assert list(zip(summary["title"], summary["seed"], strict=True)) == [("SST2", 0), ("SST2", 1)]
    row = summary.drop(columns=["title", "seed"]).iloc[1].to_dict()
    expected = {"mean": 3, "weighted fitted": 2, "attention fitted": 2}
    expected |= {"pairs": 4, "lowest": 2, "median": 4, "highest": 8, "large": 0.25}
    assert row == pytest.approx(expected)


def test_published_ratios_are_those_that_the_paper_speaks_of():
    by = poolers.published_ratios().pivot(index="task", columns="pooler", values="ratio")
    assert len(by) == 5 and by["mean"].between(2.5, 4).all()
    assert by["random attention"].between(4.9, 11.5).all()


def test_the_picture_holds_every_ratio_by_seed_and_the_published_ones():
    table = pd.concat([made_up(), made_up(task="own-task")])
    ratios = poolers.ratios(table)
    fig = figures.pooler_spread(table, ratios, poolers.published_ratios())
    above = [t for t in fig.data if t.yaxis in ("y", "y2")]
    traces = {(t.name, t.yaxis): t for t in above}
    pairs = traces["random attention, all pairs of draws", "y"]
    of_task = ratios[(ratios["title"] == ratios["title"].iloc[0]) & (ratios["basis"] == "own draw")]
    by_seed = of_task.groupby("seed")["ratio"]
    assert by_seed.size().tolist() == [4, 4] and len(set(pairs.x)) == 2, "a box a seed"
    for side, expected in (("lowerfence", by_seed.min()), ("upperfence", by_seed.max())):
        assert list(pairs[side]) == pytest.approx(list(expected)), "all pairs are inside"
    assert list(pairs.median) == pytest.approx(list(by_seed.median()))
    assert list(traces["mean", "y"].y) == pytest.approx([3, 3])
    assert list(traces["attention fitted", "y2"].y) == pytest.approx([2, 2])
    assert traces["published, mean", "y"].y[0] == pytest.approx(3.07, abs=0.01)
    assert ("published, mean", "y2") not in traces, "nothing is published for another task"
    named = [t.name for t in fig.data if t.showlegend is not False]
    assert len(named) == len(set(named))


def test_one_arm_alone_has_values_and_no_ratio():
    table = made_up(models=["mlm"])
    ratios = poolers.ratios(table)
    assert ratios.empty and poolers.summary(ratios).empty
    fig = figures.pooler_spread(table, ratios, poolers.published_ratios())
    assert {t.name for t in fig.data} == {"MLM-only"}
    with pytest.raises(ValueError, match="metric='rank'"):
        figures.pooler_spread(table, ratios, poolers.published_ratios(), "rank")


def test_a_training_split_of_one_class_is_named(smoke_runs, corpus):
    compared = encoders.models({"mlm": smoke_runs["mlm"]}, corpus.tokenizer)
    task = load_task("docs-relation")
    same = dataclasses.replace(task.train.head(20), labels=np.zeros(20, dtype=int))
    with pytest.raises(ValueError, match=r"Docs-relation.*, mlm: .*one class"):
        poolers.spread(compared, [dataclasses.replace(task, train=same)], draws=1, max_samples=20)


def marked(n=300, length=8, dim=6, seed=0):
    """One token a text is marked (dimension 0) and holds the class (dimension 1)."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, length, dim, generator=draw)
    hidden[:, :, 0] = 0
    labels = torch.randint(0, 2, (n,), generator=draw)
    places = torch.randint(0, length, (n,), generator=draw)
    hidden[torch.arange(n), places, 0] = 3.0
    hidden[torch.arange(n), places, 1] = 2.0 * labels - 1
    return hidden, torch.ones(n, length, dtype=torch.long), labels, places


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_fitted_direction_looks_where_the_label_is(kind):
    *tokens, labels, places = marked()
    direction = fit_direction(*tokens, labels, kind, start=torch.zeros(6), epochs=30)
    held_out, _, _, places = marked(seed=1)
    shares = (held_out @ direction).softmax(dim=1)
    attended = shares[torch.arange(len(places)), places].mean()
    assert attended > 0.5, "an eighth, if nothing had been learnt"


def test_it_is_a_function_of_its_seed():
    *tokens, labels, _ = marked(n=80)
    start = torch.zeros(6)
    one, same, other = (
        fit_direction(*tokens, labels, "classification", start=start, seed=s) for s in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_one_class_cannot_be_fitted():
    *tokens, labels, _ = marked(n=20)
    with pytest.raises(ValueError, match="one class only"):
        fit_direction(*tokens, labels * 0, "classification", start=torch.zeros(6))


def test_both_for_a_task_and_in_one_pass(smoke_runs, corpus):
    task = load_task("docs-relation")
    encoder, tokenizer = smoke_runs["mlm"].encoder(), corpus.tokenizer
    directions = fitted_directions(encoder, tokenizer, task.train.head(100), task.kind)
    assert tuple(directions) == FITTED
    part = task.validation.head(40)
    pooled = embed(encoder, tokenizer, part.first, part.second, directions=directions)
    mean = embed(encoder, tokenizer, part.first, part.second, poolings=("mean",))
    assert list(pooled)[-2:] == list(FITTED)
    assert (pooled["mean"] == mean["mean"]).all()
    assert not (pooled["weighted fitted"] == pooled["mean"]).all()


def test_directions_pool_as_pool_does():
    hidden, mask, *_ = marked(n=5)
    direction = torch.arange(6.0)
    as_weighted = pool(hidden, mask, "weighted", direction=direction)
    as_attention = pool(hidden, mask, "attention", direction=direction)
    assert torch.equal(as_weighted, as_attention)
