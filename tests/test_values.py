"""Values as Python, YAML, papermill and command lines bring them: one recipe, one folder, one name.

What is read is read into its declared type, the rest is refused by field and value.
"""

import dataclasses
import json
import math
import typing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papermill.cli import _resolve_type
from papermill.translators import PythonTranslator

from predrecon import recipes
from predrecon.data import files
from predrecon.data.tasks import Split, task_names
from predrecon.seeding import numpy_generator
from predrecon.training.batches import draw_batch
from predrecon.training.run_folder import Run, finished_runs, folder_of
from predrecon.workbook import Notebook, commands, labels
from predrecon.workbook.figures import Gallery

TEXT = SimpleNamespace(fingerprint="of some text")


def same(one, other):
    """Equal also in the types of their values, and called the same."""
    assert repr(one) == repr(other)
    for seed in (0, 1):
        assert folder_of(one, TEXT, seed) == folder_of(other, TEXT, seed)
        assert labels.tag(one, seed) == labels.tag(other, seed)
    return True


@pytest.mark.parametrize(
    ("brought", "meant"),
    [
        (dict(lr="1e-4"), dict(lr=1e-4)),
        (dict(weight_decay=" 5E-2 "), dict(weight_decay=0.05)),
        (dict(muon_lr="2e-2", lam="0.5"), dict(muon_lr=0.02, lam=0.5)),
        (dict(lr=np.float64(0.002)), dict(lr=0.002)),
        (dict(epochs=5, weight_decay=0), dict(epochs=5.0, weight_decay=-0.0)),
        (dict(context_scale=[0.5, 0.7]), dict(context_scale=(0.5, 0.7))),
        (dict(context_scale=[0.65, 0.85]), {}),
        (dict(betas="0, 0.98", ema=np.array([0.9, 1])), dict(betas=(0.0, 0.98), ema=(0.9, 1.0))),
        (dict(target_scale="[0.1, 0.2]"), dict(target_scale=(0.1, 0.2))),
        (dict(max_steps=4.0), dict(max_steps=4)),
        (dict(max_steps="2e3"), dict(max_steps=2000)),
        (dict(max_steps=np.int64(7), batch_size="4.0"), dict(max_steps=7, batch_size=4)),
        (dict(corpus=2024, tokenizer=7), dict(corpus="2024", tokenizer="7")),
        (dict(corpus=Path("a/b.txt")), dict(corpus="a/b.txt")),
        (dict(leak="yes", compile="False"), dict(leak=True, compile=False)),
        (dict(leak=1, compile="off"), dict(leak=True, compile=False)),
        (dict(compile="auto", lam="none", checkpoint_minutes="None"), {}),
        (dict(corpus="auto", max_steps=None), {}),
        (dict(mlp_ratio="2.0", init="auto"), dict(mlp_ratio=2)),
        (dict(mlp_ratio="1.5"), dict(mlp_ratio=1.5)),
    ],
)  # fmt: skip
def test_a_value_is_read_into_its_type(brought, meant):
    assert same(recipes.get("smoke", **brought), recipes.get("smoke", **meant))
    changed = {k: v for k, v in brought.items() if v is not None and (k, v) != ("corpus", "auto")}
    assert same(dataclasses.replace(recipes.get("smoke"), **changed), recipes.get("smoke", **meant))


def test_none_as_a_word_is_the_field_s_own_none():
    """And None is the preset's value."""
    recipe = recipes.get("demo", max_steps="none", lam_lr="auto")
    assert recipe.max_steps is None and recipe.lam_lr is None and recipe.steps(6400) == 600
    assert recipes.get("demo", lam="auto").lam_lr == recipes.get("demo").lam_lr == 1e-3


def by_notebook(overrides):
    return Notebook("smoke", overrides=overrides)


def kind_of(field):
    kind = recipes._types()[field]
    return kind if kind in recipes._KINDS else typing.get_args(kind)[0]


POSITIVE = (
    "hidden_size num_layers num_heads predictor_size predictor_layers predictor_heads "
    "length num_targets min_context batch_size max_steps log_every checkpoint_every keep_last "
    "validation_blocks"
).split()
NUMBERS = [f.name for f in dataclasses.fields(recipes.Recipe) if "float" in str(f.type)]
NUMBERS += [*POSITIVE, "snapshots", "warmup_steps"]
PAIRS = [f.name for f in dataclasses.fields(recipes.Recipe) if "tuple" in str(f.type)]
FIELDS = [f.name for f in dataclasses.fields(recipes.Recipe) if f.name != "preset"]
WRONG = [(field, value) for field in NUMBERS for value in (-1, "-1e-3", "half", True, "")]
WRONG += [(field, value) for field in POSITIVE for value in (0, "0", 2.5, "2.5", 1e300, -(2**70))]
WRONG += [(field, value) for field in FIELDS for value in (math.nan, math.inf, [], {}, b"1")]
WRONG += [(field, value) for field in NUMBERS for value in ("nan", "-inf", 10**400)]
WRONG += [(field, (0.7, 0.5)) for field in ("context_scale", "target_scale")]
WRONG += [(field, (0, 0.5)) for field in ("context_scale", "target_scale")]
WRONG += [(field, v) for field in PAIRS for v in (0.5, [0.5], "0.5", [0.1, 0.2, 0.3], {0.1, 0.2})]
WRONG += [(field, (0.5, 1.5)) for field in PAIRS] + [(f, (math.nan, 0.5)) for f in PAIRS]
WRONG += [("betas", (0.9, 1.0)), ("lam", 0), ("lam", 1), ("epochs", 0), ("epochs", 1e308)]
WRONG += [("mlm_probability", 0), ("mlm_probability", 1.01), ("checkpoint_minutes", 0)]
WRONG += [("corpus", ""), ("corpus", "  "), ("tokenizer", "a\0b"), ("corpus", True), ("length", 2)]
WRONG += [("arm", "jepa"), ("precision", "fp8"), ("optimizer", 5), ("leak", 2), ("compile", "?")]
WRONG += [
    ("mlp_ratio", 0),
    ("mlp_ratio", 1e300),
    ("leak", "none"),
    ("lr", "none"),
    ("context_scale", "auto"),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_what_cannot_be_read_is_refused_by_field_and_value(field, value):
    """The value as it came or, where it is only out of range, as it was read."""
    for refuse in (lambda change: recipes.get("smoke", **change), by_notebook):
        with pytest.raises(ValueError) as refused:
            refuse({field: value})
        name, expected = str(refused.value).split(": expected ")
        assert expected.endswith(".")
        if name != f"{field}={value!r:.80}":
            number = name.removeprefix(f"{field}=")
            assert number == repr(recipes._KINDS[kind_of(field)][0](value))


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        (dict(hidden_size=30, num_heads=4), "hidden_size=30 over 4 heads: expected an even"),
        (dict(predictor_size=33, predictor_heads=3), "predictor_size=33 over 3 heads"),
        (dict(hidden_size=12, num_heads=4, architecture="modern"), "rotation needs an even"),
        (dict(token_scale="sqrt_dim", architecture="modern"), "token_scale='sqrt_dim' with"),
    ],
)
def test_what_no_model_can_be_built_from_is_refused(change, refusal):
    with pytest.raises(ValueError, match=refusal):
        recipes.get("smoke", **change)


@pytest.mark.parametrize(
    ("parameters", "attributes"),
    [
        (dict(seed="1", arms=["mlm", "hybrid"]), dict(seed=1, arms=["mlm", "hybrid"])),
        (dict(seed=2.0, arms="mlm,"), dict(seed=2, arms=["mlm"])),
        (dict(arms=("mlm", "mlm")), dict(arms=["mlm"])),
        (dict(data_dir=2024, every_seed="no"), dict(data_dir="2024", every_seed=False)),
        (dict(data_dir="none"), dict(data_dir=None)),
    ],
)
def test_other_parameters_of_a_notebook_are_read_too(parameters, attributes):
    book = Notebook("smoke", **parameters)
    assert {name: getattr(book, name) for name in attributes} == attributes


def test_tasks_are_names_and_families():
    assert task_names(["docs-swap", "docs-edit"]) == ["docs-swap", "docs-edit"]
    assert task_names("embedded, sst2,") == [*task_names(["embedded"]), "sst2"]
    assert task_names("[sst2, sst2]") == ["sst2"] and task_names(corpus="x")[0] == "sst2"


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        (dict(seed=-1), "seed=-1: expected a whole number, from 0"),
        (dict(seed="one"), "seed='one'"),
        (dict(seed=2**32), "seed=4294967296"),
        (dict(arms=[]), "arms is empty"),
        (dict(arms=5), "arms=5|arm='5'"),
        (dict(arms=None), "arms=None: expected names"),
        (dict(tasks="docs-swop"), "task 'docs-swop': expected one of"),
        (dict(tasks=["sst2", None]), "tasks=.*: expected names"),
        (dict(tasks=""), "tasks is empty"),
        (dict(every_seed="perhaps"), "every_seed='perhaps': expected yes or no"),
        (dict(overrides="lr: 1e-4"), "overrides='lr: 1e-4': expected fields and their values"),
        (dict(overrides=[("lr", 1)]), "overrides="),
        (dict(overrides={1: 2}), "overrides={1: 2}"),
        (dict(preset=5), "preset=5: expected one of smoke"),
    ],
)
def test_other_parameters_of_a_notebook_are_refused_by_name(parameters, refusal):
    with pytest.raises(ValueError, match=refusal):
        Notebook(**{"preset": "smoke"} | parameters)


def test_counts_of_texts_are_read_and_refused():
    split = Split(list("abc"), None, np.arange(3))
    assert [len(split.head(n)) for n in ("2", 2.0, "2e0", 9, None)] == [2, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="max_samples=0: expected a whole number, at least 1"):
        split.head(0)
    with pytest.raises(ValueError, match=r"max_train='1\.5'"):
        split.head("1.5", "max_train")


def test_a_seed_is_read_wherever_it_is_used(corpus):
    recipe = recipes.get("smoke")
    blocks, (plain, *others) = corpus.blocks("train", recipe.length), (3, "3", 3.0, np.int64(3))
    expected = draw_batch(recipe, corpus, blocks, plain, 0)["masked_ids"]
    for seed in others:
        assert torch.equal(draw_batch(recipe, corpus, blocks, seed, 0)["masked_ids"], expected)
        assert labels.caption(recipe, seed) == labels.caption(recipe, plain)
    with pytest.raises(ValueError, match=r"seed='1\.5': expected a whole number"):
        numpy_generator("1.5", "anything")


MANY = dict(
    hidden_size=64, num_layers=3, num_heads=4, mlp_ratio=3, predictor_size=48, predictor_layers=2,
    length=96, context_scale=(0.6, 0.8), target_scale=(0.12, 0.22), num_targets=3,
    mlm_probability=0.25, batch_size=16, max_steps=1234, lr=0.00123, muon_lr=0.0234,
    weight_decay=0.123, betas=(0.91, 0.989),
)  # fmt: skip


def test_names_fit_a_file_system_however_much_differs(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path))
    recipe = recipes.get("smoke", **MANY)
    names = {labels.tag(recipe, seed) for seed in range(3)}
    names |= {labels.tag(dataclasses.replace(recipe, betas=(0.91, 0.988)), 0)}
    assert len(names) == 4 and all(len(name) <= 240 for name in names)
    assert all(name.startswith("smoke-docstrings-hidden_size=64-") for name in names)
    assert Gallery(names.pop()).keep("table", pd.DataFrame({"a": [1]})).is_file()
    assert Gallery(names.pop()).export().startswith("0 figures as HTML")


@pytest.mark.parametrize("stem", ["a" * 250, "語" * 83, "\udcff" * 80, "a" * 230, "é" * 110])
def test_names_fit_a_file_system_whatever_the_corpus_is_called(stem, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    recipes_ = [recipes.get("smoke", corpus=f"{stem}{end}.txt", arm="mlm") for end in "ab"]
    made = [folder_of(recipe, TEXT, seed) for recipe in recipes_ for seed in (0, 2**32 - 1)]
    for folder in made:
        folder.with_name(f".{folder.name}.12345678").mkdir(parents=True)  # a temporary copy
        folder.mkdir()
        (folder / "metrics.json").write_text("{}")
        facts = {"seed": int(folder.name.split("-")[-2].removeprefix("seed"))}
        (folder / "recipe.json").write_text(json.dumps(facts))
    assert len(set(made)) == 4
    assert made[0].name.startswith(f"smoke-{'_' if stem[0] == chr(0xDCFF) else stem[0]}")
    for recipe, folders in zip(recipes_, (made[:2], made[2:]), strict=True):
        assert [run.folder for run in finished_runs(recipe, TEXT)] == folders
    tags = {labels.tag(recipe, 0) for recipe in recipes_}
    assert len(tags) == 2 and all(len(tag.encode()) <= 240 for tag in tags)


def test_names_that_fit_are_as_they_were(tmp_path, monkeypatch):
    """Written down before names were cut and values read."""
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    changed = dict(lr=1e-4, max_steps=3000, ema=(0.99, 1.0))
    other = dict(corpus="/x/my text.txt", arm="mlm", weight_decay=0.0)
    for preset, change, seed, folder, tag in (
        ("demo", {}, 0, "demo-docstrings-hybrid-seed0-f6bd13d6", "demo-docstrings"),
        (
            "demo", changed, 2, "demo-docstrings-hybrid-seed2-d64a6c56",
            "demo-docstrings-max_steps=3000-lr=0.0001-ema=_0.99__1.0_-seed=2",
        ),
        (
            "paper", other, 1, "paper-my text-mlm-seed1-757033d2",
            "paper-my_text-80df-weight_decay=0.0-seed=1",
        ),
    ):  # fmt: skip
        recipe = recipes.get(preset, **change)
        assert folder_of(recipe, TEXT, seed).name == folder
        assert labels.tag(recipe, seed) == tag
    assert files.fitting("語" * 70) == "語" * 70
    long = "a" * 150 + "b c" * 10
    assert folder_of(recipes.get("smoke", corpus=f"{long}.txt"), TEXT, 0).name.startswith(
        f"smoke-{long}-hybrid-seed0-"
    )


def test_a_run_from_when_whole_numbers_were_integers_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    recipe, older = recipes.get("smoke", epochs="5"), "smoke-docstrings-hybrid-seed0-3f565089"
    assert folder_of(recipe, TEXT, 0).name == "smoke-docstrings-hybrid-seed0-30c010e8"
    (tmp_path / older).mkdir()
    assert folder_of(recipe, TEXT, 0).name == older
    (tmp_path / older / "metrics.json").write_text("{}")
    (tmp_path / older / "recipe.json").write_text('{"seed": 0}')
    assert [run.folder.name for run in finished_runs(recipe, TEXT)] == [older]


def share(low, high):
    return st.floats(low, high, exclude_min=True, exclude_max=True, allow_subnormal=False)


def ordered(low, high):
    return st.tuples(share(low, high), share(low, high)).map(sorted).map(tuple)


RATE, COUNT = st.floats(0, 10), st.integers(1, 10**6)
NAMES = st.sampled_from(["docstrings", "wikipedia", "2024", "some text.txt", "a/b-c.jsonl", "é"])
VALUES = {
    "arm": st.sampled_from(recipes.ARMS),
    "corpus": NAMES,
    "tokenizer": NAMES,
    "num_layers": COUNT,
    "hidden_size": st.sampled_from([64, 128, 768]),
    "num_heads": st.sampled_from([1, 2, 4]),
    "mlp_ratio": COUNT | share(0, 100),
    "length": st.integers(3, 4096),
    "context_scale": ordered(0, 1),
    "target_scale": ordered(0, 1),
    "num_targets": COUNT,
    "leak": st.booleans(),
    "mlm_probability": share(0, 1),
    "batch_size": COUNT,
    "epochs": st.one_of(st.integers(1, 100), share(0, 1e6)),
    "max_steps": st.none() | COUNT,
    "optimizer": st.sampled_from(recipes.OPTIMIZERS),
    "lr": RATE,
    "muon_lr": RATE,
    "lam": st.none() | share(0, 1),
    "warmup_steps": st.integers(0, 1000),
    "weight_decay": RATE,
    "betas": st.tuples(share(0, 1), share(0, 1)),
    "ema": st.tuples(share(0, 1), st.just(1.0)),
    "precision": st.sampled_from(["fp32", "bf16", "auto"]),
    "compile": st.none() | st.booleans(),
    "checkpoint_minutes": st.none() | COUNT | share(0, 100),
    "snapshots": st.integers(0, 9),
    "validation_blocks": COUNT,
}
OVERRIDES = st.fixed_dictionaries({}, optional=VALUES)


def word(value) -> str:
    """As someone would type it."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(recipes.PRESETS), OVERRIDES, st.integers(0, 2**32 - 1))
def test_a_recipe_survives_every_way_it_can_take(tmp_path_factory, preset, overrides, seed):
    """Python, YAML, papermill's parameters and guesses, the command line, recipe.json."""
    chosen = {k: "none" if v is None else v for k, v in overrides.items()}
    recipe = recipes.get(preset, **chosen)
    assert same(recipe, recipes.get(preset, **{k: word(v) for k, v in chosen.items()}))

    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in chosen.items()}
    from_yaml = yaml.safe_load(yaml.safe_dump({"overrides": lists, "seed": seed}))
    cell = {}
    exec(PythonTranslator.codify(from_yaml), cell)
    book = Notebook(preset, seed=cell["seed"], overrides=cell["overrides"])
    assert same(recipe, book.recipe) and book.seed == seed

    guesses = {k: _resolve_type(word(v)) for k, v in chosen.items()}
    assert same(recipe, Notebook(preset, overrides=guesses, seed=str(seed)).recipe)

    line = [f"--{k.replace('_', '-')}={word(v)}" for k, v in chosen.items()]
    options = commands._parser().parse_args(["pretrain", "--preset", preset, *line])
    assert same(recipe, recipes.get(options.preset, **commands._overrides(options)))

    folder = tmp_path_factory.mktemp("run")
    facts = {"seed": seed, "recipe": dataclasses.asdict(recipe)}
    (folder / "recipe.json").write_text(json.dumps(facts))
    assert same(recipe, Run(folder).recipe)
    whole = {k: "none" if v is None else v for k, v in facts["recipe"].items() if k != "preset"}
    assert same(recipe, recipes.get(preset, **whole))
