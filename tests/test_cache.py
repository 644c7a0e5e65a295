"""Cached results are found again; whatever could change a number is measured anew."""

import ast
import dataclasses
import inspect

import numpy as np
import pytest

from predrecon.audit import cache, linear_probes
from predrecon.audit.cache import code_digest
from predrecon.model import Encoder


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setattr(cache.paths, "cache_dir", lambda **_: tmp_path)
    return tmp_path / "results"


@pytest.fixture
def edit(monkeypatch):
    """`edit(module, old, new)`: from now on the module's source reads so."""
    getsource, edits = inspect.getsource, {}

    def source(module):
        text = getsource(module)
        for old, new in edits.get(module.__name__, {}).items():
            assert old in text, f"{module.__name__} does not hold {old!r}"
            text = text.replace(old, new)
        return text

    def change(module: str, old: str, new: str):
        edits.setdefault(module, {})[old] = new
        forget()

    def forget():
        code_digest.cache_clear()
        cache._contents.cache_clear()

    monkeypatch.setattr(cache.inspect, "getsource", source)
    yield change
    monkeypatch.undo()
    forget()


MEASURE = "predrecon.audit.geometry.measure"
HEADS = "predrecon.audit.linear_probes._fit"
POOLERS = "predrecon.audit.poolers._measured"


@pytest.mark.parametrize(
    ("start", "module", "old", "new"),
    [
        (MEASURE, "metrics", "t: float = 2.0", "t: float = 3.0"),
        (MEASURE, "metrics", "_NOISE = 8 *", "_NOISE = 9 *"),
        (MEASURE, "metrics", "2 - 2 * u[rows]", "2 - 2.1 * u[rows]"),
        (MEASURE, "pooling", "amax(dim=1)", "amin(dim=1)"),
        (MEASURE, "probes", "_CLASS_MINIMUM = 5", "_CLASS_MINIMUM = 6"),
        (MEASURE, "probes", "max_iter=500", "max_iter=600"),
        (MEASURE, "data.tasks", "[1, 2, 3, 4]", "[1, 2, 3, 4.5]"),
        (MEASURE, "audit.statistics", "draws: int = 200", "draws: int = 300"),
        (MEASURE, "seeding", ">> np.uint64(1)", ">> np.uint64(2)"),
        (HEADS, "probes", "lr: float = 1e-3", "lr: float = 2e-3"),
        (HEADS, "probes", "batch_size: int = 64", "batch_size: int = 32"),
        (HEADS, "probes", "dropout: float = 0.2", "dropout: float = 0.1"),
        (HEADS, "probes", "weight_decay=0.0", "weight_decay=0.1"),
        (POOLERS, "audit.poolers", "lr=1e-2", "lr=1e-3"),
    ],
)
def test_code_that_changes_a_number_changes_the_key(edit, start, module, old, new):
    before = code_digest(start)
    edit(f"predrecon.{module}", old, new)
    assert code_digest(start) != before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("metrics", "# faster than its", "# quicker than its"),
        ("metrics", "All N (N - 1) / 2 pairs of different rows", "All pairs of different rows"),
        ("probes", '"""The score on `n` samples:', '"""What was scored on `n` samples:'),
        ("audit.geometry", "def published_spectra() ->", "def published_curves() ->"),
        ("metrics", "def probe_gap(z, labels", "def probe_difference(z, labels"),
    ],
)
def test_comments_docstrings_and_other_functions_do_not(edit, module, old, new):
    before = code_digest(MEASURE)
    edit(f"predrecon.{module}", old, new)
    assert code_digest(MEASURE) == before


def test_layout_does_not_matter(edit):
    before = code_digest(MEASURE)
    text = inspect.getsource(linear_probes.probes)
    edit("predrecon.probes", text, ast.unparse(ast.parse(text)))
    assert code_digest(MEASURE) == before


def test_code_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match=r"geometry\.measured is not defined at the top"):
        code_digest("predrecon.audit.geometry.measured")


def test_an_encoder_is_known_by_code_configuration_and_weights(edit, smoke_runs):
    encoder = smoke_runs["mlm"].encoder()
    before = cache.encoder_digest(encoder)
    assert cache.encoder_digest(smoke_runs["mlm"].encoder()) == before
    assert cache.encoder_digest(smoke_runs["hybrid"].encoder()) != before
    assert Encoder.__module__ == "predrecon.model"
    edit("predrecon.model", "self.norm = nn.LayerNorm", "self.norm = nn.RMSNorm")
    assert cache.encoder_digest(encoder) != before


def test_heads_are_fitted_anew_when_the_probes_learning_rate_changes(
    edit, compared, labelled, results, monkeypatch
):
    fits, train = [], linear_probes.probes.linear_probes
    monkeypatch.setattr(
        linear_probes.probes, "linear_probes", lambda *a, **k: fits.append(1) or train(*a, **k)
    )
    task = dataclasses.replace(labelled[0], train=labelled[0].train.head(40))
    for fitted in (1, 1):
        linear_probes.probe(compared[0], task)
        assert len(fits) == fitted, "once"
    edit("predrecon.probes", "lr: float = 1e-3", "lr: float = 2e-3")
    linear_probes.probe(compared[0], task)
    assert len(fits) == 2 and len(list(results.iterdir())) == 2 * 2, "two choices of the epoch"


def test_a_library_of_another_version_measures_anew(results, monkeypatch):
    calls = []

    def compute():
        calls.append(1)
        return [], {}

    for version, total in (("1.0", 1), ("1.0", 1), ("1.1", 2)):
        cache._versions.cache_clear()
        monkeypatch.setattr(cache.importlib.metadata, "version", lambda name, v=version: v)
        cache.cached("x", ("key",), compute)
        assert len(calls) == total
    cache._versions.cache_clear()


def test_missing_results_are_computed_together_and_kept_one_by_one(results):
    asked = []

    def compute(missing, stop=None):
        asked.append(missing)
        for number in missing:
            if number == stop:
                raise KeyboardInterrupt
            yield [{"number": number}], {}

    def numbers(keys, compute=compute):
        return [rows[0]["number"] for rows, _ in cache.cached_all("x", keys, compute)]

    assert numbers([("a",), ("b",)]) == [0, 1]
    assert numbers([("c",), ("a",), ("d",), ("b",)]) == [0, 0, 2, 1]
    assert numbers([("b",), ("a",)]) == [1, 0], "nothing is computed"
    with pytest.raises(KeyboardInterrupt):
        numbers([("e",), ("f",), ("g",)], lambda missing: compute(missing, stop=1))
    assert numbers([("e",), ("f",), ("g",)], lambda missing: compute(missing)) == [0, 1, 2]
    assert asked == [[0, 1], [0, 2], [0, 1, 2], [1, 2]]
    assert numbers([("h",), ("h",)]) == [1, 1] and asked[-1] == [1], "equal keys once"


def test_a_half_written_result_is_not_found(results):
    calls = []

    def compute():
        calls.append(1)
        if len(calls) == 1:
            raise KeyboardInterrupt
        return [{"value": float("nan"), "n": 1}], {"a": np.arange(3)}

    with pytest.raises(KeyboardInterrupt):
        cache.cached("x", ("key",), compute)
    for _ in range(2):
        rows, arrays = cache.cached("x", ("key",), compute)
    assert len(calls) == 2 and np.isnan(rows[0]["value"])
    assert np.array_equal(arrays["a"], np.arange(3))
