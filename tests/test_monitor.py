"""The monitor: its numbers against other formulas, its names, and what a run does about them."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from predrecon import metrics, recipes
from predrecon.data.progress import Progress
from predrecon.training import loop, monitor
from predrecon.training.heldout import evaluate
from predrecon.training.loop import pretrain
from predrecon.training.monitor import describe, floors, name_state
from predrecon.training.optimizer import build_model
from predrecon.training.run_folder import Run, folder_of

D = 16


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_numbers_of_clouds_that_everyone_can_picture():
    n = 50_000
    sphere = describe(normal(n, D))
    assert sphere["spread"] == pytest.approx(1, abs=0.01) and sphere["correlation"] < 0.01
    point = describe(torch.ones(64, D) + 1e-4 * normal(64, D))
    assert point["spread"] < 1e-3 and point["rank"] > 10, "its noise has every direction"
    line = describe(normal(n, 1) * torch.ones(1, D))
    assert line["rank"] == pytest.approx(1, abs=0.01)
    assert line["correlation"] == pytest.approx(1, abs=1e-3)
    plane = describe(normal(n, 2) @ normal(2, D, seed=1))
    assert 1 < plane["rank"] < 2.01


def test_numbers_equal_numpy_in_double_precision():
    z = (normal(200, D) @ normal(D, D, seed=1)).double() + 1
    unit = z.numpy() / np.linalg.norm(z.numpy(), axis=1, keepdims=True)
    off = ~np.eye(D, dtype=bool)
    expected = {
        "rank": metrics.effective_rank(z),
        "spread": unit.std(axis=0, ddof=1).mean() * math.sqrt(D),
        "correlation": np.abs(np.corrcoef(z.numpy().T))[off].mean(),
    }
    assert describe(z) == pytest.approx(expected, rel=1e-9)


def test_floors_are_what_predictors_reach_that_see_no_text():
    positions = torch.arange(8).expand(64, 1, 8)
    by_position = normal(8, D)[positions]  # [64, 1, 8, D]
    known = floors(by_position, positions)
    assert known["position_floor"] < 0.01 < 0.5 < known["constant_floor"]
    equal = floors(torch.ones(64, 1, 8, D), positions)
    assert max(equal.values()) < 1e-6
    free = floors(normal(64, 1, 8, D), positions)
    assert min(free.values()) > 0.9

    h, at = normal(6, 2, 3, D).double(), torch.tensor([[[0, 1, 2], [2, 3, 4]]]).expand(6, 2, 3)
    rows = [  # the position that both blocks have counts once
        (text, p, h[text, k, i] / h[text, k, i].norm())
        for text in range(6)
        for k, i, p in ((0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 1, 3), (1, 2, 4))
    ]
    constant, position = [], []
    for text, p, v in rows:
        others = [(q, w) for t, q, w in rows if not (t == text and q == p)]
        mean = torch.stack([w for _, w in others]).mean(0)
        there = torch.stack([w for q, w in others if q == p]).sum(0) + 5 * mean
        constant.append(1 - torch.cosine_similarity(v, mean, dim=0).item())
        position.append(1 - torch.cosine_similarity(v, there, dim=0).item())
    lower = min(np.mean(position), np.mean(constant))
    expected = {"constant_floor": np.mean(constant), "position_floor": lower}
    assert floors(h, at) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("value", [0.3, 0.0, math.nan, math.inf])
def test_an_exact_collapse_has_no_rank_and_stops_no_run(value):
    seen = describe(torch.full((64, D), value))
    assert math.isnan(seen["rank"])
    assert math.isfinite(value) == (seen["spread"] < 1e-6)
    assert math.isfinite(value) or math.isnan(seen["spread"])


def test_no_predictor_by_position_is_worse_than_the_best_constant():
    z = normal(12, 1, 8, D) + 3 * normal(D, seed=1)
    known = floors(z, torch.arange(8).expand(12, 1, 8))
    assert known["position_floor"] <= known["constant_floor"]


def test_the_cosine_between_texts_is_that_of_all_pairs(corpus):
    recipe = recipes.get("smoke")
    watch, model = monitor.Monitor(recipe, corpus, "cpu"), build_model(recipe, corpus, 0)
    with torch.no_grad():
        x = model.encoder.embed(watch.batch["masked_ids"])
        means = model.encoder.transform(x, keep=watch.batch["context"]).mean(1).double().numpy()
    unit = means / np.linalg.norm(means, axis=1, keepdims=True)
    expected = (unit @ unit.T)[np.triu_indices(len(unit), 1)].mean()
    row = monitor.measure(model, watch.batch, watch.unigram)
    assert row["text_cosine"] == pytest.approx(expected, abs=1e-6)


GOOD = dict(context_spread=0.9, target_spread=0.9, context_rank=25.0, target_rank=25.0)
GOOD |= dict(constant_floor=0.6, position_floor=0.5, nats=1.0)


@pytest.mark.parametrize(
    "change, progress, state",
    [
        ({}, 0.5, "healthy"),
        ({"nats": 0.01}, 0.1, "starting"),
        ({"nats": 0.01}, 0.25, "plateau"),
        ({"nats": -3.1}, 0.1, "divergence"),
        ({"nats": math.nan}, 0.1, "divergence"),
        ({"target_spread": 0.05}, 0.5, "collapse to a point"),
        (
            {"target_spread": 0.01, "position_floor": 0.002, "constant_floor": 0.002},
            0.5,
            "collapse to a point",
        ),
        ({"position_floor": 0.01}, 0.5, "target is a function of position"),
        ({"context_spread": 0.05, "position_floor": 0.01}, 0.5, "target is a function of position"),
        ({"context_rank": 1.9}, 0.5, "collapse to few dimensions"),
        ({"target_rank": 19.9}, 0.5, "collapse to few dimensions"),
        ({"context_spread": 0.05, "context_rank": 1.9, "nats": -0.1}, 0.5, "plateau"),
        ({"target_spread": 0.05, "nats": -0.1}, 0.5, "collapse to a point"),
        (dict.fromkeys(("target_spread", "target_rank", "position_floor"), math.nan), 1, "healthy"),
    ],
)
def test_names(change, progress, state):
    assert name_state(GOOD | change, progress, least=-3, dim=120) == state


def test_divergence_is_measured_from_the_lowest_loss_and_from_a_guess(corpus):
    watch = monitor.Monitor(recipes.get("smoke", monitor_every=5), corpus, "cpu")
    assert watch.guess == pytest.approx(watch.unigram.mean() - math.log(len(corpus.tokenizer)))
    model, nats = Stub(), iter((0.2, 0.9, 0.75, 0.6, 0.85, 0.9))
    states = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "measure", lambda *_: GOOD | {"nats": next(nats)})
        for look in range(6):
            states.append(watch.look(model, 0.5)["state"])
            assert watch.alarm == ("divergence" if look == 4 else ""), "one look is not enough"
    assert states == ["healthy"] * 3 + ["divergence"] * 2 + ["healthy"]


# nats at looks every 25 steps of runs of preset demo: the learning rate a hundred times too high,
# MLM-only as published, on its plateau, and a hybrid that learns
@pytest.mark.parametrize(
    ("nats", "diverges"),
    [
        ((-0.315, -0.306, -0.109, -0.105, -0.169, -0.157), [4, 5]),
        ((-0.523, -0.268, -0.252, -0.171, -0.227, -0.313), [4, 5]),
        ((-0.50, -0.16, -0.12, -0.106, -0.101, -0.103), []),
        ((-0.90, -0.07, 0.07, 0.16, 0.12, 0.27), []),
    ],
)
def test_a_loss_that_stays_above_word_frequencies_is_a_divergence(corpus, nats, diverges):
    watch = monitor.Monitor(recipes.get("smoke", monitor_every=5), corpus, "cpu")
    values = iter(nats)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(monitor, "measure", lambda *_: GOOD | {"nats": next(values)})
        states = [watch.look(Stub(), 0.2)["state"] for _ in nats]
    assert [look for look, state in enumerate(states) if state == "divergence"] == diverges


class Stub:
    config = type("", (), {"hidden_size": 32})


def test_looks_are_at_the_first_logged_step_of_each_interval(corpus):
    watch = monitor.Monitor(recipes.get("smoke", monitor_every=5), corpus, "cpu", step=4)
    assert [step for step in (4, 6, 9, 10, 14, 21, 22) if watch.is_due(step)] == [6, 10, 21]
    off = monitor.Monitor(recipes.get("smoke", monitor_every=0), corpus, "cpu")
    assert not any(map(off.is_due, range(100))) and off.state == off.alarm == ""


SHORT = dict(max_steps=12, validation_blocks=8, monitor_every=3, checkpoint_every=5)


def trained(corpus, folder, **fields):
    return pretrain(recipes.get("smoke", **SHORT | fields), corpus, folder, seed=0)


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_a_run_is_the_same_with_and_without_the_monitor(corpus, tmp_path, arm):
    on = trained(corpus, tmp_path / "on", arm=arm)
    off = trained(corpus, tmp_path / "off", arm=arm, monitor_every=0)
    one, other = (load_file(run.folder / "model.safetensors") for run in (on, off))
    assert all(torch.equal(one[name], other[name]) for name in one)
    looked = on.history.dropna(subset=["state"])
    assert looked["step"].tolist() == [3, 6, 9, 12] and off.history["state"].isna().all()
    assert set(looked["state"]) <= set(monitor.STATES)
    hybrid_only = ["target_rank", "jepa_cosine", "constant_floor", "position_floor"]
    assert looked[hybrid_only].notna().all(axis=None) == (arm == "hybrid")
    assert looked[["context_rank", "text_cosine", "nats"]].notna().all(axis=None)
    assert on.metrics["state"] == looked["state"].iloc[-1] and off.metrics["state"] == ""


def test_nats_are_those_of_the_held_out_losses(corpus, tmp_path):
    run = trained(corpus, tmp_path)
    losses = evaluate(run.model(), run.recipe, corpus)
    assert run.history["nats"].iloc[-1] == pytest.approx(losses["below_unigram"], abs=1e-5)


def test_an_old_history_keeps_its_columns(corpus, tmp_path):
    pretrain(recipes.get("smoke", **SHORT), corpus, tmp_path, seed=0, stop_after=5)
    file = tmp_path / "history.csv"
    old = pd.read_csv(file).drop(columns=[*monitor.COLUMNS, "state"])
    old.to_csv(file, index=False)
    run = trained(corpus, tmp_path)
    assert list(run.history) == list(old) and run.history["step"].tolist() == list(range(1, 13))


def test_a_resumed_run_looks_at_the_steps_of_a_whole_one(corpus, tmp_path):
    fields = SHORT | dict(log_every=2, monitor_every=5)
    recipe = recipes.get("smoke", **fields)
    for stop in (5, 11, None):  # between a boundary of the monitor's and the next logged step
        run = pretrain(recipe, corpus, tmp_path, seed=0, stop_after=stop)
    assert run.history.dropna(subset=["state"])["step"].tolist() == [6, 10]


def test_a_loss_that_is_not_finite_is_told_as_before(corpus, tmp_path, monkeypatch):
    def broken(recipe, corpus, seed, begin=None):
        model = build_model(recipe, corpus, seed, begin)
        torch.nn.init.constant_(model.encoder.norm.weight, math.nan)
        return model

    monkeypatch.setattr(loop, "build_model", broken)
    with pytest.raises(FloatingPointError, match="loss is nan, seen at step 1"):
        trained(corpus, tmp_path, monitor_every=1)


@pytest.fixture
def alarmed(monkeypatch):
    """Every look from the second on sees a collapse."""

    def see(row, progress, least, dim):
        return "healthy" if progress <= 0.25 else "collapse to a point"

    monkeypatch.setattr(monitor, "name_state", see)


def test_continue_only_reports(corpus, tmp_path, alarmed, monkeypatch):
    notes = []
    monkeypatch.setattr(Progress, "update", lambda self, done, note="": notes.append(note))
    run = trained(corpus, tmp_path)
    assert run.finished and "changed" not in run.metrics
    assert run.metrics["state"] == "collapse to a point"
    logged = [note for note in notes if "tokens/s" in note]
    assert ["collapse" in note for note in logged] == [False] * 5 + [True] * 7


def test_stop_leaves_the_last_good_checkpoint(corpus, tmp_path, alarmed):
    with pytest.raises(RuntimeError, match=r"at step 9.*collapse to a point.*step-00000003"):
        trained(corpus, tmp_path, on_collapse="stop")
    assert [f.name for f in (tmp_path / "checkpoints").iterdir()] == ["step-00000003"]
    assert not Run(tmp_path).finished


@pytest.mark.parametrize("to", ["mlm", "vicreg"])
def test_a_change_is_made_once_kept_by_a_resume_and_told(corpus, tmp_path, alarmed, to):
    whole = trained(corpus, tmp_path / "whole", on_collapse=to)
    assert whole.metrics["changed"] == f"to {to} at step 9: collapse to a point"
    lam = whole.history["lam"]
    assert (lam[:9] > 0.4).all() and (lam[9:] == 0).all() == (to == "mlm")
    if to == "vicreg":
        config = json.loads((whole.folder / "config.json").read_text())
        assert config["latent_loss"] == "vicreg"
        assert whole.history["jepa_loss"][9:].min() > 1.2 > whole.history["jepa_loss"][:9].max()
    recipe = recipes.get("smoke", **SHORT, on_collapse=to)
    for stop in (7, 10, None):
        parts = pretrain(recipe, corpus, tmp_path / "parts", seed=0, stop_after=stop)
    one, other = (load_file(run.folder / "model.safetensors") for run in (whole, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert parts.metrics["changed"] == whole.metrics["changed"]


def test_bad_values_are_refused_with_the_way_out():
    with pytest.raises(ValueError, match="on_collapse='restart': expected one of continue, stop"):
        recipes.get("smoke", on_collapse="restart")
    with pytest.raises(ValueError, match="monitor_every=-1"):
        recipes.get("smoke", monitor_every=-1)
    with pytest.raises(ValueError, match="monitor_every=0: only the monitor"):
        recipes.get("smoke", on_collapse="mlm", monitor_every=0)
    with pytest.raises(
        ValueError, match="on_collapse='mse', latent_loss='mse': that changes nothi"
    ):
        recipes.get("smoke", on_collapse="mse", latent_loss="mse")
    one = dict(batch_size=1, num_targets=1, target_scale=(0.01, 0.2))
    for field in ("latent_loss", "on_collapse"):
        with pytest.raises(ValueError, match=f"{field}='vicreg', batch_size=1: a batch may hold"):
            recipes.get("smoke", **one, **{field: "vicreg"})
    assert recipes.get("smoke", arm="mlm", **one).batch_size == 1


def test_what_may_change_a_run_is_part_of_what_it_is(corpus):
    def place(**fields):
        return folder_of(recipes.get("smoke", **fields), corpus, 0)

    assert place(monitor_every=5) == place() == place(validation_blocks=9)
    assert place(on_collapse="stop", monitor_every=5) == place(on_collapse="stop")
    for other in (dict(monitor_every=5), dict(log_every=2), dict(validation_blocks=9)):
        assert place(on_collapse="mlm", **other) != place(on_collapse="mlm")
    assert place(arm="mlm", on_collapse="vicreg") == place(arm="mlm"), "nothing to change to"
