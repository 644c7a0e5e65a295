"""Geometry: what is measured of one encoder on one task, of all together, and what is published."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from predrecon import metrics
from predrecon.audit import cache, geometry
from predrecon.audit.encoders import Model
from predrecon.audit.geometry import measure
from predrecon.audit.statistics import bootstrap_interval
from predrecon.data.tasks import load_task
from predrecon.workbook.tables import geometry_table


@pytest.fixture(scope="module")
def task():
    return load_task("docs-relation")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda: tmp_path)
    return tmp_path / "results"


def encoder(run, name="one"):
    return Model(name, run.encoder(), AutoTokenizer.from_pretrained(run.folder))


def test_what_is_measured_once_is_read_the_second_time(smoke_runs, task, results, monkeypatch):
    model = encoder(smoke_runs["mlm"])
    options = dict(poolings=("mean", "weighted"), max_samples=80, draws=20)
    first = measure(model, task, **options)
    with monkeypatch.context() as patched:
        patched.setattr(geometry, "embed", lambda *_, **__: pytest.fail("encoded again"))
        again = measure(Model("two", model.encoder, model.tokenizer), task, **options)
    assert first.rows == again.rows
    assert all(np.array_equal(first.replicates[k], again.replicates[k]) for k in first.replicates)
    assert len(list(results.iterdir())) == 1
    changed = dict(options, max_samples=70)
    assert measure(model, task, **changed).rows != first.rows
    assert measure(encoder(smoke_runs["hybrid"]), task, **options).rows != first.rows
    assert len(list(results.iterdir())) == 3


def test_values_and_replicates_belong_together(smoke_runs, task, results):
    found = measure(encoder(smoke_runs["hybrid"]), task, max_samples=80, draws=50)
    z = found.embeddings["max"]
    value = {r["metric"]: r["value"] for r in found.rows if r["pooling"] == "max"}
    assert value["uniformity"] == metrics.uniformity(z)
    assert {key[1] for key in found.replicates} == set(value)
    for metric in ("uniformity", "alignment", "semantic_probe", "probe_gap"):
        spread = found.replicates["max", metric]
        assert spread.shape == (50,) and abs(spread.mean() - value[metric]) < 4 * spread.std()
    same = (found.replicates["mean", m] is not None for m in value)
    assert all(same)
    assert np.array_equal(
        found.replicates["mean", "uniformity"], found.replicates["weighted", "uniformity"]
    ), "weighted pooling as published is mean pooling"


def test_an_error_names_task_and_model(smoke_runs, task, results):
    model = encoder(smoke_runs["mlm"], "the twin")
    with pytest.raises(ValueError, match=f"{task.title}, the twin: "):
        measure(model, task, max_samples=1)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda z: np.where(np.arange(len(z))[:, None] == 3, np.nan, z), "Embedding 3 holds NaN"),
        (lambda z: np.ones_like(z), "All embeddings are equal"),
    ],
)
def test_spoilt_embeddings_give_a_message_and_no_number(
    smoke_runs, task, results, monkeypatch, spoil, told
):
    whole = geometry.embed
    monkeypatch.setattr(
        geometry, "embed", lambda *a, **k: {n: spoil(z) for n, z in whole(*a, **k).items()}
    )
    with pytest.raises(ValueError, match=f"{task.title}, one: {told}"):
        measure(encoder(smoke_runs["mlm"]), task, poolings=("mean",), max_samples=60)
    assert not list(results.glob("*")), "nothing is remembered"


def test_one_class_cannot_be_probed_and_has_no_distance_between_classes(smoke_runs, task, results):
    alone = task.validation.head(60)
    alone = dataclasses.replace(alone, labels=np.zeros(60, dtype=int))
    single = dataclasses.replace(task, validation=alone)
    with pytest.raises(ValueError, match="one: All 60 labels are 0: a probe needs two classes"):
        measure(encoder(smoke_runs["mlm"]), single, poolings=("mean",))
    found = measure(encoder(smoke_runs["mlm"]), single, poolings=("mean",), probed=False)
    values = {row["metric"]: row["value"] for row in found.rows}
    assert "inter_class_distance" not in values and np.isfinite(values["alignment"])


def test_fewer_samples_than_dimensions_bound_every_rank(smoke_runs, task, results):
    found = measure(
        encoder(smoke_runs["hybrid"]),
        task,
        poolings=("max",),
        max_samples=20,
        draws=5,
        probed=False,
    )
    for row in found.rows:
        assert (row["n"], row["dim"]) == (20, 32)
        if "rank" in row["metric"]:
            assert 1 <= row["value"] <= 20
    values = {row["metric"]: row["value"] for row in found.rows}
    in_nats = metrics.spectral_entropy(found.embeddings["max"], power=2, normalize="none")
    assert values["spectral_entropy_sigma2"] == pytest.approx(in_nats / np.log(20)), "as published"


def test_a_table_shows_no_margin_where_there_are_no_bounds(smoke_runs, task, results):
    """Of four samples some bootstrap samples hold no pair of one class, or one sample alone."""
    model = encoder(smoke_runs["mlm"])
    options = dict(poolings=("mean",), probed=False)
    few = measure(model, task, max_samples=4, **options)
    spread = few.replicates["mean", "alignment"]
    assert np.isnan(spread).any()
    interval = bootstrap_interval(few.rows[0]["value"], spread, 4)
    facts = {"task": "t", "title": "T", "model": "mlm", "seed": 0, "n": 4, "pooling": "mean"}
    table = pd.DataFrame([facts | {"metric": "alignment"} | interval.bounds])
    assert geometry_table(table, ("alignment",)).iloc[0, 0] == interval.text()


def test_without_models_or_tasks_there_is_nothing_to_measure(compared, labelled):
    with pytest.raises(ValueError, match="0 models, 3 tasks: there is nothing to measure"):
        geometry.measure_all([], labelled)
    with pytest.raises(ValueError, match="3 models, 0 tasks: there is nothing to measure"):
        geometry.measure_all(compared, [])
    with pytest.raises(ValueError, match="No spectrum"):
        geometry.seed_spectra(geometry.Geometry(pd.DataFrame(), {}, {}))


def test_every_convention_is_measured_with_its_replicates(smoke_runs, task, results):
    model = encoder(smoke_runs["hybrid"])
    measured = measure(model, task, poolings=("mean",), max_samples=80, draws=20, probed=False)
    names = {row["metric"] for row in measured.rows}
    assert set(geometry.CONVENTIONS) <= names
    assert names == {metric for _, metric in measured.replicates}
