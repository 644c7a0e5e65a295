"""Geometry: what is measured of one encoder on one task, of all together, and what is published."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from transformers import AutoTokenizer

from predrecon import metrics
from predrecon.audit import cache, encoders, geometry, published
from predrecon.audit.encoders import Model
from predrecon.audit.geometry import (
    measure,
    published_geometry,
    published_spectra,
    seed_spectra,
)
from predrecon.audit.statistics import bootstrap_interval
from predrecon.data.tasks import load_task
from predrecon.pooling import embed
from predrecon.workbook import tables


@pytest.fixture(scope="module")
def task():
    return load_task("docs-relation")


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda **_: tmp_path)
    return tmp_path / "results"


def encoder(run, name="one"):
    return Model(name, run.encoder(), AutoTokenizer.from_pretrained(run.folder))


def test_what_is_measured_once_is_read_the_second_time(smoke_runs, task, results, monkeypatch):
    model = encoder(smoke_runs["mlm"])
    options = dict(poolings=("mean", "weighted"), max_samples=80, draws=20)
    first = measure(model, task, **options)
    with monkeypatch.context() as patched:
        patched.setattr(encoders, "embed", lambda *_, **__: pytest.fail("encoded again"))
        again = measure(Model("two", model.encoder, model.tokenizer), task, **options)
    assert first.rows == again.rows
    assert all(np.array_equal(first.replicates[k], again.replicates[k]) for k in first.replicates)
    assert len(list(results.iterdir())) == 1
    changed = dict(options, max_samples=70)
    assert measure(model, task, **changed).rows != first.rows
    assert measure(encoder(smoke_runs["hybrid"]), task, **options).rows != first.rows
    assert len(list(results.iterdir())) == 3


def test_values_and_replicates_belong_together(smoke_runs, task, results):
    measured = measure(encoder(smoke_runs["hybrid"]), task, max_samples=80, draws=50)
    z = measured.embeddings["max"]
    value = {r["metric"]: r["value"] for r in measured.rows if r["pooling"] == "max"}
    assert value["uniformity"] == metrics.uniformity(z)
    assert {key[1] for key in measured.replicates} == set(value)
    for metric in ("uniformity", "alignment", "semantic_probe", "probe_gap"):
        spread = measured.replicates["max", metric]
        assert spread.shape == (50,) and abs(spread.mean() - value[metric]) < 4 * spread.std()
    same = (measured.replicates["mean", m] is not None for m in value)
    assert all(same)
    assert np.array_equal(
        measured.replicates["mean", "uniformity"], measured.replicates["weighted", "uniformity"]
    ), "weighted pooling as published is mean pooling"


def test_an_error_names_task_and_model(smoke_runs, task, results):
    model = encoder(smoke_runs["mlm"], "the twin")
    with pytest.raises(ValueError, match=f"{task.title}, the twin: "):
        measure(model, task, max_samples=1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda z: np.where(np.arange(len(z))[:, None] == 3, np.nan, z), "Embedding 3 holds NaN"),
        (lambda z: np.ones_like(z), "All embeddings are equal"),
    ],
)
def test_spoilt_embeddings_give_a_message_and_no_number(
    smoke_runs, task, results, monkeypatch, spoil, message
):
    original_embed = encoders.embed
    monkeypatch.setattr(
        encoders, "embed", lambda *a, **k: {n: spoil(z) for n, z in original_embed(*a, **k).items()}
    )
    with pytest.raises(ValueError, match=f"{task.title}, one: {message}"):
        measure(encoder(smoke_runs["mlm"]), task, poolings=("mean",), max_samples=60)
    assert not list(results.glob("*")), "nothing is remembered"


def test_one_class_cannot_be_probed_and_has_no_distance_between_classes(smoke_runs, task, results):
    of_one_class = task.validation.head(60)
    of_one_class = dataclasses.replace(of_one_class, labels=np.zeros(60, dtype=int))
    single = dataclasses.replace(task, validation=of_one_class)
    with pytest.raises(ValueError, match="one: All 60 labels are 0: a probe needs two classes"):
        measure(encoder(smoke_runs["mlm"]), single, poolings=("mean",))
    measured = measure(encoder(smoke_runs["mlm"]), single, poolings=("mean",), probed=False)
    values = {row["metric"]: row["value"] for row in measured.rows}
    assert "inter_class_distance" not in values and np.isfinite(values["alignment"])


def test_fewer_samples_than_dimensions_bound_every_rank(smoke_runs, task, results):
    measured = measure(
        encoder(smoke_runs["hybrid"]),
        task,
        poolings=("max",),
        max_samples=20,
        draws=5,
        probed=False,
    )
    for row in measured.rows:
        assert (row["n"], row["dim"]) == (20, 32)
        if "rank" in row["metric"]:
            assert 1 <= row["value"] <= 20
    values = {row["metric"]: row["value"] for row in measured.rows}
    in_nats = metrics.spectral_entropy(measured.embeddings["max"], power=2, normalize="none")
    assert values["spectral_entropy_sigma2"] == pytest.approx(in_nats / np.log(20)), "as published"


def test_a_table_shows_no_margin_where_there_are_no_bounds(smoke_runs, task, results):
    """Some bootstrap samples of four hold no pair of one class, or only one sample."""
    model = encoder(smoke_runs["mlm"])
    options = dict(poolings=("mean",), probed=False)
    few = measure(model, task, max_samples=4, **options)
    spread = few.replicates["mean", "alignment"]
    assert np.isnan(spread).any()
    interval = bootstrap_interval(few.rows[0]["value"], spread, 4)
    facts = {"task": "t", "title": "T", "model": "mlm", "seed": 0, "n": 4, "pooling": "mean"}
    table = pd.DataFrame([facts | {"metric": "alignment"} | interval.bounds])
    assert tables.geometry_table(table, ("alignment",)).iloc[0, 0] == interval.text()


def test_padding_is_part_of_what_is_remembered(smoke_runs, labelled, results):
    """Texts of every length under both protocols; true pairs are encoded under the same one."""
    model, overlap = encoder(smoke_runs["hybrid"]), labelled[2]
    options = dict(poolings=("mean",), draws=5, probed=False)
    values = {}
    for padding in ("ignored", "attended", "ignored"):
        measured = measure(model, overlap, padding=padding, **options)
        values[padding] = {row["metric"]: row["value"] for row in measured.rows}
        split = overlap.validation
        texts = split.first, split.second
        z = embed(model.encoder, model.tokenizer, *texts, poolings=("mean",), padding=padding)
        np.testing.assert_array_equal(measured.embeddings["mean"], z["mean"])
    assert len(list(results.iterdir())) == 2
    for metric in ("uniformity", "effective_rank", "pair_alignment"):
        assert values["ignored"][metric] != values["attended"][metric]
    every = geometry.measure_all([model], [overlap], poolings=("mean",), padding="attended")
    row = every.table.query("metric == 'uniformity'").iloc[0]
    assert row["value"] == values["attended"]["uniformity"]


def test_without_models_or_tasks_there_is_nothing_to_measure(compared, labelled):
    with pytest.raises(ValueError, match="0 models, 3 tasks: nothing to measure"):
        geometry.measure_all([], labelled)
    with pytest.raises(ValueError, match="3 models, 0 tasks: nothing to measure"):
        geometry.measure_all(compared, [])
    with pytest.raises(ValueError, match="No spectrum"):
        seed_spectra(geometry.Geometry(pd.DataFrame(), {}, {}))


def test_every_convention_is_measured_with_its_replicates(smoke_runs, task, results):
    model = encoder(smoke_runs["hybrid"])
    measured = measure(model, task, poolings=("mean",), max_samples=80, draws=20, probed=False)
    names = {row["metric"] for row in measured.rows}
    assert set(geometry.CONVENTIONS) <= names
    assert names == {metric for _, metric in measured.replicates}


def test_geometry_fills_every_cell(geometry, labelled):
    table, embeddings = geometry.table, geometry.embeddings
    wide = tables.geometry_table(table)
    assert wide.shape == (3 * 4, 6 * 2) and not wide.isna().any().any()
    cells, cell = wide.stack([0, 1], future_stack=True), r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\]"
    assert cells.str.fullmatch(cell).all()
    pairs = table[table["metric"] == "pair_alignment"]
    assert set(pairs["title"]) == {"Docs-overlap"} and (pairs["n"] < 120).all()
    assert len(embeddings) == 3 * 4 * 2
    z = embeddings["docs-swap", "max", "mlm"]
    cell = table.query("task == 'docs-swap' and pooling == 'max' and model == 'mlm'")
    cell = cell.set_index("metric")["value"]
    assert cell["uniformity"] == metrics.uniformity(z)
    assert cell["alignment"] == metrics.alignment(z, labelled[0].validation.labels)
    assert cell["probe_gap"] == pytest.approx(cell["semantic_probe"] - cell["token_probe"])
    table = table[table["metric"] != "pair_alignment"]
    lexical = table["metric"] == "token_probe"  # texts whose token has four others
    assert (table.loc[~lexical, "n"] == 120).all() and (table["dim"] == 32).all()
    assert table.loc[lexical, "n"].between(10, 120).all()
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()


def test_published_numbers_are_the_papers():
    scores = published.linear_probe().set_index("task")
    assert scores.loc["sst2", "hybrid"] == pytest.approx(0.6755)
    assert scores.loc["stsb", "mlm"] == pytest.approx(0.283)
    value = published_geometry().set_index(["task", "pooling", "model", "metric"])["value"]
    assert value["sst2", "mean", "hybrid", "uniformity"] == pytest.approx(-0.160, abs=5e-4)
    assert value["mrpc", "max", "hybrid", "probe_gap"] == pytest.approx(0.031, abs=1e-3)
    assert value["cola", "mean", "mlm", "probe_gap"] == pytest.approx(-0.284, abs=1e-3)
    assert len(value) == 568 + 40 + 40, "with gaps, and alignments by both averages"


def test_published_spectra_are_shares_of_all_components():
    """Half of the variance or more lies in 50 of 512 components, and never more than all."""
    spectra = published_spectra()
    assert spectra.groupby(["task", "pooling", "model"]).ngroups == 40
    assert (spectra["rank"] <= 50).all() and spectra["cumulative"].between(0, 1).all()
    rank = published_geometry().query("metric == 'stable_rank'")
    first = spectra[spectra["rank"] == 1].assign(model=lambda t: t["model"].str.split().str[1])
    both = first.merge(rank, on=["task", "pooling", "model"])
    assert np.allclose(both["share"] * both["value"], 1)


def test_spectra_are_shares_of_variance(geometry):
    table = seed_spectra(geometry)
    for _, part in table.groupby(["task", "pooling", "model", "seed"]):
        assert part["share"].sum() == pytest.approx(1)
        assert part["share"].is_monotonic_decreasing
        assert part["cumulative"].iloc[-1] == pytest.approx(1)
