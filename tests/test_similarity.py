"""Graded similarity: the number of the usual evaluator, its interval, and summaries over tasks."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from transformers import AutoTokenizer

from predrecon.audit import cache, similarity
from predrecon.audit.encoders import Model
from predrecon.audit.similarity import measure_similarity
from predrecon.data.tasks import SimilarityTask, load_similarity_task
from predrecon.pooling import embed


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda **_: tmp_path)


@pytest.fixture(scope="module")
def tasks():
    split = load_similarity_task("docs-overlap").test
    return [
        SimilarityTask("one", "One", split.head(60)),
        SimilarityTask("two", "Two (part)", split.head(30), "half of it"),
    ]


@pytest.fixture
def model(smoke_runs):
    run = smoke_runs["hybrid"]
    return Model("hybrid", run.encoder(), AutoTokenizer.from_pretrained(run.folder))


def test_rho_is_over_all_pairs_of_sentences_encoded_apart(model, tasks):
    table = measure_similarity([model], tasks[:1], poolings=("mean", "max"))
    assert list(table["n"]) == [60, 60] and not table["task"].isin(similarity.SUMMARIES).any()
    split = tasks[0].test
    for row in table.itertuples():
        sides = [
            embed(model.encoder, model.tokenizer, side, poolings=(row.pooling,))[row.pooling]
            for side in (split.first, split.second)
        ]
        a, b = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in sides)
        rho = spearmanr(split.labels, (a * b).sum(axis=1)).statistic
        assert row.value == pytest.approx(rho, abs=1e-3), "batches change the last digits"
        assert row.low < row.value < row.high


def test_summaries_count_a_task_once_or_by_its_pairs(model, tasks):
    table = measure_similarity([model], tasks, poolings=("mean",)).set_index("task")
    one, two = table.loc["one"], table.loc["two"]
    plain, weighted = (table.loc[name] for name in similarity.SUMMARIES)
    assert plain["value"] == pytest.approx((one["value"] + two["value"]) / 2)
    assert weighted["value"] == pytest.approx((2 * one["value"] + two["value"]) / 3)
    assert plain["n"] == weighted["n"] == 90
    assert plain["note"] == "2 tasks; Two (part): half of it"
    assert plain["high"] - plain["low"] < two["high"] - two["low"]


def test_what_is_measured_once_is_read_the_second_time(model, tasks, monkeypatch):
    first = measure_similarity([model], tasks)
    monkeypatch.setattr(
        "predrecon.audit.encoders.embed", lambda *_, **__: pytest.fail("encoded again")
    )
    assert measure_similarity([model], tasks).equals(first)


def test_draws_are_the_same_for_every_encoder(model, tasks, smoke_runs):
    other = Model("twin", smoke_runs["hybrid"].encoder(), model.tokenizer)
    a, b = (similarity.similarity(m, tasks[0], poolings=("mean",)) for m in (model, other))
    assert np.array_equal(a.replicates["mean", "spearman"], b.replicates["mean", "spearman"])


def test_bad_input_is_named(model, tasks):
    with pytest.raises(ValueError, match="One, hybrid: Bootstrap of 1 samples"):
        measure_similarity([model], tasks[:1], max_samples=1)
    with pytest.raises(ValueError, match="Two models are named 'hybrid' with seed 0"):
        measure_similarity([model, model], tasks)
    with pytest.raises(ValueError, match="0 models, 2 tasks: nothing to measure"):
        measure_similarity([], tasks)
