"""The grid: recipes of its conditions, equal operations, and what its runs did on the way."""

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
from predrecon.audit.snapshots import WATCHED, lambdas, trajectories
from predrecon.data.tasks import load_task
from predrecon.model import Encoder
from predrecon.training import runs
from predrecon.training.assembly import model_config
from predrecon.training.batches import draw_batch
from predrecon.training.flops import batch_flops

BASE = recipes.get("smoke", max_steps=12, validation_blocks=8, snapshots=3)


@pytest.fixture(scope="module")
def cells(corpus):
    return grid.cells(BASE, corpus, range(2), ("hybrid", "mlm", "hybrid-lam25", "hybrid-slow"))


@pytest.fixture(scope="module")
def trained(cells, corpus, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PREDRECON_RUNS", str(tmp_path_factory.mktemp("runs")))
        assert grid.found(cells, corpus) == {}
        done = []
        grid.train(cells, workers=2, on_done=lambda cell, run: done.append(cell))
        assert sorted(map(str, done)) == sorted(map(str, cells))
        return grid.found(cells, corpus)


def test_conditions_change_what_they_name(corpus):
    made = {cell.condition: cell.recipe for cell in grid.cells(BASE, corpus, [0])}
    assert list(made) == list(grid.CONDITIONS)
    assert made["hybrid"] == BASE
    assert made["mlm-sqrt"] == dataclasses.replace(BASE, arm="mlm", token_scale="sqrt_dim")
    assert made["hybrid-lam75"].lam == 0.75 and made["hybrid"].lam is None
    assert made["hybrid-slow"].lam_lr == pytest.approx(BASE.lr / 10)
    folders = {runs.folder(recipe, corpus, 0).name for recipe in made.values()}
    assert len(folders) == len(made)


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
    asked = "--preset smoke --max-steps 100000 --workers 1 --seeds 2 --checkpoint-every 100000"
    process = subprocess.Popen(
        [sys.executable, "-m", "predrecon", "grid", *asked.split(), "--conditions", "mlm,hybrid"],
        env=os.environ | {"PREDRECON_RUNS": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    histories = wait_for(lambda: list(tmp_path.glob("*/history.csv")), process)
    assert len(histories) == 1
    process.terminate()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and "Stopped by SIGTERM: every run" in told, told[-2000:]
    assert len(list(tmp_path.glob("*/checkpoints/step-*"))) == 1
    assert len([f for f in tmp_path.iterdir() if f.is_dir()]) == 1, "no other run began"


def wait_for(look, process, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and process.poll() is None:
        if found := look():
            return found
        time.sleep(0.1)
    raise AssertionError(process.communicate()[1][-2000:])


def test_an_unknown_condition_is_named(corpus):
    with pytest.raises(ValueError, match="condition 'jepa': expected some of hybrid, mlm"):
        grid.cells(BASE, corpus, [0], ("jepa",))


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
    watched = table[table["metric"].isin(WATCHED)]
    assert len(watched) == 2 * 4 * len(WATCHED)
    start = table.query("step == 0 and metric == 'uniformity'")["value"]
    assert start.nunique() == 1, "both arms start from the same encoder"
    left = table.query("metric == 'below_unigram'")
    assert len(left) == 2 * 3 and set(left["step"]) == {4, 8, 12}


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
    found = runs.every_seed(BASE, ["hybrid", "mlm"], corpus, seed=1)
    assert {arm: [run.facts["seed"] for run in several] for arm, several in found.items()} == {
        "hybrid": [0, 1],
        "mlm": [0, 1],
    }
    assert all(run.recipe.lam is None for run in found["hybrid"]), "of this recipe only"
