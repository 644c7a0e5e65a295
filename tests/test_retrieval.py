"""Retrieval of true pairs, and the probe heads beside the linear one."""

import numpy as np
import pytest

from predrecon import metrics, probes
from predrecon.audit import cache
from predrecon.audit.encoders import Model
from predrecon.audit.probe_heads import measure_probe_heads
from predrecon.audit.retrieval import MEASURES, measure_retrieval
from predrecon.data.tasks import Task, load_task
from predrecon.model import Encoder, PredictReconstructConfig
from predrecon.pooling import embed


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda **_: tmp_path)


@pytest.fixture(scope="module")
def model(corpus):
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=4)
    config = PredictReconstructConfig(vocab_size=len(corpus.tokenizer), **sizes)
    return Model("tiny", Encoder(config).eval(), corpus.tokenizer)


@pytest.fixture(scope="module")
def short():
    """Tasks cut short, opened while the corpus is still in its usual cache."""
    opened = {
        name: load_task(name)
        for name in ("docs-swap", "docs-edit", "docs-overlap", "docs-relation")
    }

    def cut(name, n=80):
        task = opened[name]
        fields = task.name, task.title, task.metric, task.classes, task.epochs
        return Task(*fields, task.train.head(n), task.validation.head(n), "cut short")

    return cut


def test_retrieval_against_a_plain_loop():
    rng = np.random.default_rng(0)
    candidates = rng.normal(size=(40, 5))
    truth = rng.permutation(40)[:15]
    queries = candidates[truth] + rng.normal(size=(15, 5))
    values = metrics.retrieval(queries, candidates, truth)
    for q, own in enumerate(truth):
        norms = np.linalg.norm(candidates, axis=1) * np.linalg.norm(queries[q])
        order = np.argsort(-(candidates @ queries[q]) / norms).tolist()
        rank = order.index(own) + 1
        assert values["recall@1"][q] == (rank == 1) and values["recall@10"][q] == (rank <= 10)
        assert values["mrr"][q] == pytest.approx(1 / rank)


def test_ties_count_as_chance_breaks_them():
    same = metrics.retrieval(np.ones((2, 3)), np.ones((20, 3)), [0, 7])
    assert np.allclose(same["recall@1"], 1 / 20) and np.allclose(same["recall@10"], 1 / 2)
    assert np.allclose(same["mrr"], np.mean(1 / np.arange(1, 21)))
    twice = metrics.retrieval(np.eye(2), np.eye(2)[[0, 0, 1]], [0, 2])
    assert twice["recall@1"].tolist() == [0.5, 1.0] and twice["mrr"].tolist() == [0.75, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((2, 3)), np.ones((4, 2)), [0, 1]), r"queries \(2, 3\), candidates \(4, 2\)"),
        ((np.ones((2, 3)), np.ones((4, 3)), [0, 4]), "truth holds rows outside 0 to 3"),
        ((np.zeros((2, 3)), np.ones((4, 3)), [0, 1]), "Embedding 0 is zero"),
    ],
)
def test_bad_retrieval_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        metrics.retrieval(*arguments)


def test_first_sentences_of_true_pairs_search_all_second_ones(model, short):
    task = short("docs-edit")
    table = measure_retrieval([model], [task, short("docs-relation")], poolings=("mean",))
    positive = task.validation.labels == 1
    assert table["task"].unique().tolist() == ["docs-edit"], "no true pairs, no rows"
    assert table["metric"].tolist() == list(MEASURES)
    assert set(table["n"]) == {positive.sum()} and set(table["candidates"]) == {80}
    sides = [
        embed(model.encoder, model.tokenizer, side, poolings=("mean",))["mean"]
        for side in (task.validation.first, task.validation.second)
    ]
    values = metrics.retrieval(sides[0][positive], sides[1], np.flatnonzero(positive))
    expected = [values[metric].mean() for metric in MEASURES]
    assert table["value"].to_numpy() == pytest.approx(expected, abs=0.02)
    assert (table["low"] < table["value"]).all() and set(table["note"]) == {"cut short"}


def test_retrieval_is_measured_once(model, monkeypatch, short):
    task = short("docs-edit")
    first = measure_retrieval([model], [task])
    monkeypatch.setattr(
        "predrecon.audit.encoders.embed", lambda *_, **__: pytest.fail("encoded again")
    )
    assert measure_retrieval([model], [task]).equals(first)


def test_tasks_without_true_pairs_are_refused(model, short):
    with pytest.raises(ValueError, match="no true pairs in Docs-relation"):
        measure_retrieval([model], [short("docs-relation")])
    with pytest.raises(ValueError, match="0 tasks: nothing to measure"):
        measure_retrieval([model], [])


def circle(n=200, seed=0):
    """Two classes that no line tells apart: inside and outside of a circle."""
    z = np.random.default_rng(seed).normal(size=(n, 2))
    return z, ((z**2).sum(axis=1) > 1.4).astype(int)


def test_neighbours_and_mlp_see_what_no_line_does():
    z, labels = circle()
    score = {h: probes.semantic_probe(z, np.array(labels), head=h).score for h in probes.HEADS}
    z, labels = circle(2000)
    score["mlp"] = probes.semantic_probe(z, labels, head="mlp").score
    assert score["linear"] < 0.65 < 0.9 < score["mlp"]
    blobs = np.repeat([[3.0, 0], [0, 3.0]], 50, axis=0) + 0.5 * z[:100]
    for head in probes.HEADS:
        result = probes.semantic_probe(blobs, np.repeat([0, 1], 50), head=head, seed=1)
        assert result.score > 0.9 and result.n == 100
        again = probes.semantic_probe(blobs, np.repeat([0, 1], 50), head=head, seed=1)
        assert np.array_equal(result.predictions, again.predictions)


def test_neighbours_are_ten_by_cosine():
    from sklearn.model_selection import KFold

    rng = np.random.default_rng(0)
    z, grades = rng.normal(size=(60, 4)), rng.uniform(0, 5, size=60)
    result = probes.semantic_probe(z, grades, kind="regression", head="knn", seed=3)
    for train, test in KFold(5, shuffle=True, random_state=3).split(z):
        scaled = (z - z[train].mean(axis=0)) / z[train].std(axis=0)
        unit = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
        nearest = np.argsort(-unit[test] @ unit[train].T, axis=1)[:, :10]
        assert result.predictions[test] == pytest.approx(grades[train][nearest].mean(axis=1))


def test_heads_with_few_samples_and_unknown_heads():
    z = np.random.default_rng(0).normal(size=(10, 3))
    assert probes.semantic_probe(z, [0, 1] * 5, head="knn").n == 10, "eight neighbours are all"
    with pytest.raises(ValueError, match="head='svm': expected one of linear, knn, mlp"):
        probes.semantic_probe(z, [0, 1] * 5, head="svm")


def test_heads_are_measured_on_the_same_folds_as_geometry(model, monkeypatch, short):
    tasks = [short("docs-swap"), short("docs-overlap")]
    table = measure_probe_heads([model], tasks, poolings=("mean", "max"))
    names = {"semantic_probe", "semantic_probe_knn", "semantic_probe_mlp"}
    assert set(table.query("task == 'docs-overlap'")["metric"]) == names
    with_mcc = names | {f"{name}_mcc" for name in names}
    assert set(table.query("task == 'docs-swap'")["metric"]) == with_mcc
    split = tasks[0].validation
    z = embed(model.encoder, model.tokenizer, split.first, split.second)["max"]
    row = table.query("task == 'docs-swap' and pooling == 'max' and metric == 'semantic_probe'")
    assert row["value"].item() == probes.semantic_probe(z, split.labels).score
    monkeypatch.setattr(
        "predrecon.audit.encoders.embed", lambda *_, **__: pytest.fail("encoded again")
    )
    assert measure_probe_heads([model], tasks, poolings=("mean", "max")).equals(table)


@pytest.mark.parametrize("heads", [(), ("linear", "svm")])
def test_unknown_heads_are_named(model, heads, short):
    with pytest.raises(ValueError, match="expected some of linear, knn, mlp"):
        measure_probe_heads([model], [short("docs-swap")], heads=heads)
