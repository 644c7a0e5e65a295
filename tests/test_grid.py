"""The grid: recipes of its conditions, equal operations, and what its runs did on the way."""

import collections
import dataclasses
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from predrecon import recipes
from predrecon.audit import contrasts, encoders, grid, snapshots
from predrecon.audit.snapshots import METRICS, lambdas, trajectories
from predrecon.data.corpus import load_corpus
from predrecon.data.tasks import load_task
from predrecon.model import Encoder
from predrecon.training.batches import draw_batch
from predrecon.training.flops import batch_flops
from predrecon.training.loop import every_seed
from predrecon.training.optimizer import model_config
from predrecon.training.run_folder import folder_of
from predrecon.workbook.commands import main

pytestmark = pytest.mark.slow

BASE = recipes.get("smoke", max_steps=12, validation_blocks=8, snapshots=3)


@pytest.fixture(scope="module")
def cells(corpus):
    return grid.cells(BASE, corpus, range(2), ("hybrid", "mlm", "hybrid-lam25", "hybrid-slow"))


@pytest.fixture(scope="module")
def trained(cells, corpus, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PREDRECON_RUNS", str(tmp_path_factory.mktemp("runs")))
        assert grid.finished(cells, corpus) == {}
        done = []
        grid.train(cells, corpus, workers=2, on_done=lambda cell, run: done.append(cell))
        assert sorted(map(str, done)) == sorted(map(str, cells))
        return grid.finished(cells, corpus)


def test_conditions_change_what_they_name(corpus):
    base = recipes.get("demo", max_steps=12)
    made = {cell.condition: cell.recipe for cell in grid.cells(base, corpus, [0])}
    assert list(made) == list(grid.CONDITIONS)
    assert made["hybrid"] == base and made["mlm"] == dataclasses.replace(base, arm="mlm")
    assert made["hybrid-lam75"].lam == 0.75 and made["hybrid"].lam is None
    assert made["hybrid-slow"].lam_lr == pytest.approx(base.lam_lr / 10)
    assert made["leak"] == dataclasses.replace(base, leak=True)
    assert made["published"] == recipes.get("demo-published", max_steps=12)
    assert made["published-mlm"] == recipes.get("demo-published", max_steps=12, arm="mlm")
    folders = {folder_of(recipe, corpus, 0).name for recipe in made.values()}
    assert len(folders) == len(made)


def test_a_published_base_has_no_published_twin(corpus):
    names = {cell.condition for cell in grid.cells(BASE, corpus, [0])}
    assert names == set(grid.CONDITIONS) - {"published", "published-mlm"}
    with pytest.raises(ValueError, match="preset='smoke' is as published already"):
        grid.cells(BASE, corpus, [0], "published")


def test_seeds_by_default(corpus):
    counts = collections.Counter(c.condition for c in grid.cells(recipes.get("demo"), corpus))
    assert counts == grid.SEEDS


def test_equal_flops_are_equal(corpus):
    recipe = grid.recipe_of(grid.EQUAL_FLOPS, BASE, corpus)
    blocks = corpus.blocks("train", BASE.length)

    def spent(recipe):
        config = model_config(recipe, corpus)
        batches = (draw_batch(recipe, corpus, blocks, 0, step) for step in range(recipe.max_steps))
        return float(sum(batch_flops(config, batch) for batch in batches))

    assert recipe.max_steps > BASE.max_steps
    assert spent(recipe) == pytest.approx(spent(BASE), rel=0.05)


def test_a_stopped_grid_leaves_a_checkpoint_and_begins_nothing_else(tmp_path):
    options = "--preset smoke --max-steps 100000 --workers 1 --seeds 2 --checkpoint-every 100000"
    process = subprocess.Popen(
        [sys.executable, "-m", "predrecon", "grid", *options.split(), "--conditions", "mlm,hybrid"],
        env=os.environ | {"PREDRECON_RUNS": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    histories = wait_for(lambda: list(tmp_path.glob("*/history.csv")), process)
    assert len(histories) == 1
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped by SIGTERM: every run" in errors, errors[-2000:]
    assert len(list(tmp_path.glob("*/checkpoints/step-*"))) == 1
    assert len([f for f in tmp_path.iterdir() if f.is_dir()]) == 1, "no other run began"


def wait_for(look, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if seen := look():
            return seen
        time.sleep(0.1)
    raise AssertionError(process.communicate()[1][-2000:])


def test_an_unknown_condition_is_named(corpus):
    with pytest.raises(ValueError, match="condition 'jepa': expected some of hybrid, mlm"):
        grid.cells(BASE, corpus, [0], ("jepa",))


def test_conditions_are_a_list_or_words_with_commas(corpus):
    named = [cell.condition for cell in grid.cells(BASE, corpus, [0], "mlm, hybrid,")]
    assert named == ["mlm", "hybrid"]


VARIED = [("arm", "mlm"), ("lam", 0.5), ("lam_lr", 1e-4), ("leak", True)]
VARIED += [("architecture", "modern")]


@pytest.mark.parametrize(("field", "value"), VARIED)
def test_a_base_that_sets_what_conditions_vary_is_refused(corpus, field, value):
    base = dataclasses.replace(BASE, **{field: value})
    named = [name for name, (_, changes) in grid.CONDITIONS.items() if field in changes]
    for conditions in ("", "hybrid", named[0]):
        with pytest.raises(ValueError, match=f"{field}={value!r}: a grid's base") as refused:
            grid.cells(base, corpus, [0], conditions)
        assert ", ".join(named) in str(refused.value)


def test_every_field_that_conditions_vary_is_refused():
    assert {field for _, changes in grid.CONDITIONS.values() for field in changes} == {
        field for field, _ in VARIED
    }


@pytest.mark.parametrize(("field", "value"), VARIED)
def test_the_command_line_refuses_it_too(field, value, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    option = f"--{field.replace('_', '-')}"
    word = "yes" if value is True else str(value)
    assert main(["grid", "--preset", "smoke", option, word, "--conditions", "hybrid"]) == 1
    assert f"{field}={value!r}: a grid's base" in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing was trained"


def test_steps_too_few_to_make_a_condition_its_own_are_refused(corpus):
    base = dataclasses.replace(BASE, max_steps=1)
    with pytest.raises(ValueError, match="max_steps=1: too few, 'mlm-flops' would equal 'mlm'"):
        grid.cells(base, corpus, [0])
    assert len(grid.cells(base, corpus, [0], "hybrid,mlm")) == 2


def test_runs_of_a_text_with_brackets_in_its_name_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "runs [1]*"))
    file = tmp_path / "corpus[1].txt"
    file.write_text("\n\n".join(f"Sentence {i} says nothing new at all." * 9 for i in range(300)))
    names = {"corpus": str(file), "tokenizer": "docstrings"}
    base = dataclasses.replace(BASE, **names, max_steps=2, snapshots=1)
    text = load_corpus(base.corpus, tokenizer=base.tokenizer)
    cells = grid.cells(base, text, [0], "mlm")
    grid.train(cells, text, workers=1)
    ((cell, run),) = grid.finished(cells, text).items()
    assert cell == cells[0] and len(run.snapshots) == 1
    assert run.facts["corpus"] == text.fingerprint, "the text of the plan is what was trained on"
    assert len(snapshots.along(run.folder)[0]) == 2


def test_a_folder_with_another_run_than_its_name_says_is_refused(trained, corpus, monkeypatch):
    (cell, run), *_ = trained.items()
    monkeypatch.setenv("PREDRECON_RUNS", str(run.folder.parent))
    file = run.folder / "recipe.json"
    recipe = file.read_text()
    try:
        file.write_text(recipe.replace('"lr": 0.001', '"lr": 0.002'))
        with pytest.raises(ValueError, match="another recipe, corpus or seed than its name says"):
            grid.finished([cell], corpus)
    finally:
        file.write_text(recipe)


def test_a_fixed_lambda_stays_and_a_slow_one_is_slow(trained):
    table = lambdas(trained).set_index(["condition", "seed"])
    assert np.allclose(table.loc[("hybrid-lam25", 0), "lam"], 0.25)
    assert np.allclose(table.loc[("hybrid-lam25", 0), "predicted"], 0.25)
    moved = {c: table.loc[(c, 0), "lam"].iloc[-1] - 0.5 for c in ("hybrid", "hybrid-slow")}
    assert moved["hybrid-slow"] == pytest.approx(moved["hybrid"] / 10, rel=0.05)
    predicted = table.loc[("hybrid-slow", 0), "predicted"].iloc[-1] - 0.5
    assert moved["hybrid-slow"] == pytest.approx(predicted, rel=0.2)
    assert "mlm" not in table.index.get_level_values("condition")


def test_snapshots_are_the_run_on_its_way(trained):
    for cell, run in trained.items():
        steps = [int(folder.name.removeprefix("step-")) for folder in run.snapshots]
        assert steps == [4, 8, 12], cell
        from transformers import AutoModel

        last = AutoModel.from_pretrained(run.snapshots[-1]).state_dict()
        final = run.encoder().state_dict()
        assert all((last[name] == final[name]).all() for name in final)


def test_trajectories_hold_every_snapshot(trained, corpus):
    two = dict(list(trained.items())[:2])
    table = trajectories(two, load_task("docs-swap"), corpus.tokenizer)
    assert set(table["step"]) == {0, 4, 8, 12}
    assert (table[["task", "pooling"]] == [load_task("docs-swap").title, "mean"]).all(axis=None)
    watched = table[table["metric"].isin(METRICS)]
    assert len(watched) == 2 * 4 * len(METRICS)
    start = table.query("step == 0 and metric == 'uniformity'")["value"]
    assert start.nunique() == 1, "both arms start from the same encoder"
    nats = table.query("metric == 'below_unigram'")
    assert len(nats) == 2 * 3 and set(nats["step"]) == {4, 8, 12}


def test_every_measurement_moves_its_encoders_to_the_gpu(trained, corpus, monkeypatch):
    cell, run = next(iter(trained.items()))
    task, devices = load_task("docs-swap"), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(Encoder, "to", lambda self, device: devices.append(device) or self)
    for measure, count in (
        (lambda: encoders.models({"hybrid": run}, corpus.tokenizer, untrained=True), 2),
        (lambda: contrasts.endpoints({cell: run}, [task], corpus.tokenizer, max_samples=100), 1),
        (lambda: trajectories({cell: run}, task, corpus.tokenizer), 4),
        (lambda: snapshots.along(run.folder, task, corpus.tokenizer), 3),
    ):
        devices.clear()
        measure()
        assert devices == ["cuda"] * count


def test_without_snapshots_there_is_no_trajectory(smoke_runs, corpus):
    cell = grid.Cell("mlm", 0, BASE)
    with pytest.raises(ValueError, match=r"\(MLM-only\) kept no snapshots"):
        trajectories({cell: smoke_runs["mlm"]}, load_task("docs-swap"), corpus.tokenizer)


def test_every_seed_on_disk_is_found(trained, cells, corpus, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(next(iter(trained.values())).folder.parent))
    arms = every_seed(BASE, ["hybrid", "mlm"], corpus, seed=1)
    assert {arm: [run.facts["seed"] for run in each] for arm, each in arms.items()} == {
        "hybrid": [0, 1],
        "mlm": [0, 1],
    }
    assert all(run.recipe.lam is None for run in arms["hybrid"]), "of this recipe only"
