"""Other papers' metrics of encoders on tasks, and how alike pairs of encoders are."""

import numpy as np
import pytest
import torch

from predrecon import metrics
from predrecon.audit import agreement, cache, other_metrics
from predrecon.audit.agreement import measure_agreement
from predrecon.audit.encoders import Model
from predrecon.audit.other_metrics import measure_other_metrics
from predrecon.data.tasks import Task, load_task
from predrecon.model import Encoder, PredictReconstructConfig
from predrecon.pooling import embed


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda **_: tmp_path)


def tiny(corpus, name, width, seed=0):
    torch.manual_seed(seed)
    sizes = dict(hidden_size=width, num_hidden_layers=1, num_attention_heads=4)
    config = PredictReconstructConfig(vocab_size=len(corpus.tokenizer), **sizes)
    return Model(name, Encoder(config).eval(), corpus.tokenizer, seed)


@pytest.fixture(scope="module")
def models(corpus):
    return [tiny(corpus, "narrow", 32), tiny(corpus, "wide", 112), tiny(corpus, "narrow", 32, 1)]


@pytest.fixture(scope="module")
def short():
    """Tasks cut short, opened while the corpus is still in its usual cache."""
    opened = {name: load_task(name) for name in ("docs-swap", "docs-edit")}

    def cut(name, n=120):
        task = opened[name]
        fields = task.name, task.title, task.metric, task.classes, task.epochs
        return Task(*fields, task.train.head(n), task.validation.head(n), "cut short")

    return cut


def test_every_pair_is_compared_on_the_same_texts(models, monkeypatch, short):
    tasks = [short("docs-swap"), short("docs-edit", 60)]
    table = measure_agreement(models, tasks, poolings=("mean", "max"))
    assert len(table) == 3 * 2 * 2 * len(agreement.MEASURES)
    pairs = table[["model", "seed", "other", "other_seed"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [["narrow", 0, "wide", 0], ["narrow", 0, "narrow", 1], ["wide", 0, "narrow", 1]]
    texts = tasks[0].validation.first
    a, b = (embed(m.encoder, m.tokenizer, texts)["max"] for m in models[:2])
    row = table.query("task == 'docs-swap' and pooling == 'max' and metric == 'linear_cka'").iloc[0]
    assert row["value"] == metrics.linear_cka(a, b) and row["n"] == 120
    assert row["low"] < row["value"] < row["high"] and row["chance"] < row["value"]
    monkeypatch.setattr(
        "predrecon.audit.encoders.embed", lambda *_, **__: pytest.fail("encoded again")
    )
    assert measure_agreement(models, tasks, poolings=("mean", "max")).equals(table)


def test_agreement_with_itself_is_whole(models, short):
    twin = Model("twin", models[0].encoder, models[0].tokenizer)
    table = measure_agreement([models[0], twin], [short("docs-swap", 40)], poolings=("mean",))
    value = table.set_index("metric")["value"]
    assert value["linear_cka"] == pytest.approx(1)
    assert value["procrustes_distance"] == pytest.approx(0, abs=1e-9)


def test_other_metrics_where_task_and_encoder_allow_them(models, monkeypatch, short):
    tasks = [short("docs-swap"), short("docs-edit")]
    table = measure_other_metrics(models[:2], tasks, poolings=("mean",))
    present = table.groupby(["model", "task"], sort=False)["metric"].agg(list).to_dict()
    assert present["narrow", "docs-swap"] == ["iso_score", "rankme"]
    assert present["wide", "docs-swap"] == ["iso_score", "rankme", "alpha_req"]
    assert present["wide", "docs-edit"] == list(other_metrics.OTHERS)
    split = tasks[1].validation
    pairs = split.labels == 1
    z = embed(models[1].encoder, models[1].tokenizer, split.first, split.second)["mean"]
    row = table.query("model == 'wide' and task == 'docs-edit'").set_index("metric")
    assert row.loc["iso_score", "value"] == metrics.iso_score(z)
    assert row.loc["lidar", "n"] == pairs.sum() and row.loc["rankme", "n"] == 120
    assert np.isfinite(row.loc[["iso_score", "rankme", "lidar"], ["low", "high"]]).all(axis=None)
    monkeypatch.setattr(
        "predrecon.audit.encoders.embed", lambda *_, **__: pytest.fail("encoded again")
    )
    assert measure_other_metrics(models[:2], tasks, poolings=("mean",)).equals(table)


def test_bad_input_is_named(models, short):
    task = short("docs-swap", 40)
    with pytest.raises(ValueError, match="agreement: 1 models: a pair needs two"):
        measure_agreement(models[:1], [task])
    with pytest.raises(ValueError, match="0 tasks: nothing to measure"):
        measure_agreement(models, [])
    with pytest.raises(ValueError, match="Docs-swap, narrow, wide: Bootstrap of 1 samples"):
        measure_agreement(models[:2], [task], max_samples=1)
    with pytest.raises(ValueError, match="Docs-swap, narrow: Bootstrap of 1 samples"):
        measure_other_metrics(models[:1], [task], max_samples=1)
