"""Two processes train as one does; compiled blocks compute what plain ones do."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from test_initial import source_folder

import predrecon
from predrecon import recipes
from predrecon.data.corpus import load_corpus
from predrecon.objectives import mlm_loss
from predrecon.training import initial
from predrecon.training.batches import draw_batch, share_of
from predrecon.training.checkpoints import CheckpointWarning, damage, folders
from predrecon.training.loop import pretrain
from predrecon.training.optimizer import build_model

pytestmark = pytest.mark.slow

OPTIONS = ["pretrain", "--preset", "smoke", "--max-steps", "20", "--validation-blocks", "4",
           "--precision", "fp32", "--checkpoint-every", "10"]  # fmt: skip


LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file",
          str(Path(predrecon.__file__).parent / "training" / "launch" / "one_node.yaml"),
          "--num_processes", "2", "-m", "predrecon"]  # fmt: skip


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


MODERN = ["--architecture", "modern", "--optimizer", "muon", "--muon-lr", "0.002"]


CHOICES = [
    dict(latent_loss="infonce", target="live"),  # all targets of the batch, gathered
    dict(latent_loss="barlow", target="stopgrad"),
    dict(latent_loss="sigreg", balance="equal-gradients", mask="spans", lam_lr=None),
]


@pytest.mark.parametrize("choice", CHOICES)
def test_two_processes_compare_the_positions_of_the_whole_batch(corpus, tmp_path, choice):
    fields = dict(max_steps=20, validation_blocks=4, precision="fp32", checkpoint_every=10)
    one = pretrain(recipes.get("smoke", **fields, **choice), corpus, tmp_path / "one", seed=0)
    named = [f"--{name.replace('_', '-')}={value}" for name, value in choice.items() if value]
    command = [*LAUNCH, *OPTIONS, *named, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    a, b = one.history, pd.read_csv(tmp_path / "two" / "history.csv")
    for column in ("loss", "jepa_loss", "mlm_loss", "lam"):
        np.testing.assert_allclose(a[column], b[column], rtol=1e-4, atol=1e-5)
    for column in ("jepa_gradient", "mlm_gradient", "gradient_cosine"):
        np.testing.assert_allclose(a[column], b[column], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    "arm, options",
    [("hybrid", []), ("mlm", []), ("hybrid", ["--shard"]), ("hybrid", MODERN)],
)
def test_two_processes_give_the_curve_of_one(corpus, tmp_path, arm, options):
    modern = dict(architecture="modern", optimizer="muon", muon_lr=0.002)
    recipe = recipes.get(
        "smoke", arm=arm, max_steps=20, validation_blocks=4, precision="fp32", checkpoint_every=10,
        **(modern if options == MODERN else {}),
    )  # fmt: skip
    one = pretrain(recipe, corpus, tmp_path / "one", seed=0)
    command = [*LAUNCH, *OPTIONS, *options, "--arm", arm, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    a, b = one.history, pd.read_csv(tmp_path / "two" / "history.csv")
    for column in ("loss", "jepa_loss", "mlm_loss", "lam"):
        np.testing.assert_allclose(a[column], b[column], rtol=0, atol=1e-5)
    for column in ("step", "tokens", "lr", "ema_momentum", "flops"):
        np.testing.assert_array_equal(a[column], b[column])
    facts = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert facts["processes"] == 2 and facts["sharded"] == ("--shard" in options)
    weights = [load_file(tmp_path / run / "model.safetensors") for run in ("one", "two")]
    if options == MODERN:  # Newton-Schulz in bf16 enlarges what a sum in another order changes
        for name, tensor in weights[0].items():
            assert (tensor - weights[1][name]).norm() < 5e-3 * tensor.norm(), name
    else:
        torch.testing.assert_close(*weights, rtol=0, atol=1e-5)
    if "--shard" in options:
        go_on_alone(recipe, corpus, tmp_path / "two", weights[0])


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_two_processes_begin_from_the_weights_that_one_begins_from(corpus, tmp_path, arm):
    """`--init`: each process reads them, and they are kept in the run's folder once."""
    source = source_folder(tmp_path / "mine", corpus.tokenizer)
    fields = dict(max_steps=20, validation_blocks=4, precision="fp32", checkpoint_every=10)
    recipe = initial.fitted(recipes.get("smoke", arm=arm, init=str(source), **fields))
    one = pretrain(
        recipe, load_corpus(recipe.corpus, tokenizer=recipe.tokenizer), tmp_path / "one", seed=0
    )
    command = [*LAUNCH, *OPTIONS, "--arm", arm, "--init", str(source)]
    command += ["--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment())
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads((tmp_path / "two" / "environment.json").read_text())
    assert facts["processes"] == 2
    b = pd.read_csv(tmp_path / "two" / "history.csv")
    for column in ("loss", "jepa_loss", "mlm_loss", "lam"):
        np.testing.assert_allclose(one.history[column], b[column], rtol=0, atol=1e-5)
    weights = [load_file(tmp_path / run / "model.safetensors") for run in ("one", "two")]
    torch.testing.assert_close(*weights, rtol=0, atol=1e-5)
    begun = [load_file(tmp_path / run / "initial" / "model.safetensors") for run in ("one", "two")]
    torch.testing.assert_close(*begun, rtol=0, atol=0)


def go_on_alone(recipe, corpus, folder, expected):
    """One process continues from a checkpoint that two wrote in parts."""
    for name in ("metrics.json", "model.safetensors", "checkpoints/step-00000020/checkpoint.json"):
        (folder / name).unlink()
    with pytest.warns(CheckpointWarning, match="step-00000020"):
        pretrain(recipe, corpus, folder, seed=0)
    torch.testing.assert_close(load_file(folder / "model.safetensors"), expected, rtol=0, atol=1e-5)
    assert [damage(f) for f in folders(folder)] == ["", ""], "the damaged one has been replaced"


@pytest.mark.parametrize("choice", ["mlm", "stop"])
def test_two_processes_act_on_a_collapse_as_one_does(corpus, tmp_path, choice):
    """A target with gradient collapses for real: both processes see it at the same step."""
    fields = dict(target="live", lr=0.02, monitor_every=2, on_collapse=choice)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in fields.items()]
    command = [*LAUNCH, *OPTIONS, *options, "--out", str(tmp_path / "two")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment())
    fields |= dict(max_steps=20, validation_blocks=4, precision="fp32", checkpoint_every=10)
    recipe = recipes.get("smoke", **fields)
    if choice == "stop":
        with pytest.raises(RuntimeError, match="Stopped at step 8"):
            pretrain(recipe, corpus, tmp_path / "one", seed=0)
        assert done.returncode != 0 and "Stopped at step 8" in done.stderr
        kept = [[f.name for f in folders(tmp_path / run)] for run in ("one", "two")]
        assert kept == [["step-00000002", "step-00000004"]] * 2
        return
    assert done.returncode == 0, done.stderr[-3000:]
    one = pretrain(recipe, corpus, tmp_path / "one", seed=0)
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    assert two["changed"] == one.metrics["changed"] and "step 8" in two["changed"]
    a, b = one.history, pd.read_csv(tmp_path / "two" / "history.csv")
    assert a["state"].fillna("").tolist() == b["state"].fillna("").tolist()
    for column in ("mlm_loss", "lam", "nats", "target_spread"):
        np.testing.assert_allclose(a[column], b[column], rtol=1e-3, atol=1e-3)


def test_what_needs_the_monitor_does_not_shard(tmp_path):
    options = ["--shard", "--on-collapse", "stop", "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [*LAUNCH, *OPTIONS, *options], capture_output=True, text=True, timeout=180,
        env=environment(),
    )  # fmt: skip
    assert done.returncode != 0 and "shard=True with on_collapse='stop'" in done.stderr


def test_one_process_has_nothing_to_shard(corpus, tmp_path):
    with pytest.raises(ValueError, match="shard=True with one process"):
        pretrain(recipes.get("smoke"), corpus, tmp_path, shard=True)


def test_muon_does_not_shard(tmp_path):
    command = [*LAUNCH, *OPTIONS, *MODERN, "--shard", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment())
    assert done.returncode != 0 and "Muon needs whole matrices" in done.stderr


def test_two_processes_stop_together(tmp_path):
    """SIGTERM to launcher and workers at once, and again, as schedulers send it."""
    out = tmp_path / "two"
    command = [*LAUNCH, *OPTIONS, "--max-steps", "100000", "--checkpoint-every", "100000",
               "--log-every", "50", "--out", str(out)]  # fmt: skip
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(),
        start_new_session=True,
    )  # fmt: skip
    started = time.monotonic()
    while not (out / "history.csv").is_file() and time.monotonic() - started < 90:
        time.sleep(0.1)
    for _ in range(2):
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(0.05)
    output, _ = process.communicate(timeout=60)
    assert "Stopped by SIGTERM at step" in output, output[-3000:]
    assert [damage(f) for f in folders(out)] == [""]


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_the_mean_of_the_parts_is_the_whole(corpus, arm):
    """Losses and gradients, whatever the number of processes (the losses are float32)."""
    recipe = recipes.get("smoke", arm=arm)
    model = build_model(recipe, corpus, 0).double()
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    whole = model(**share_of(batch, 0, 1))
    whole.loss.backward()
    expected = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    losses = []
    for rank in range(4):
        out = model(**share_of(batch, rank, 4))
        (out.loss / 4).backward()
        losses.append(out.loss.item())
    assert np.mean(losses) == pytest.approx(whole.loss.item(), abs=1e-6)
    for name, parameter in model.named_parameters():
        if name in expected:
            torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("masked", [0, 1, 3])
def test_few_masked_tokens_weigh_the_same_on_many_processes(masked):
    """The mean over processes is the whole batch's loss, also with less than one token each."""
    logits, labels = torch.randn(masked, 9), torch.arange(masked)
    whole = mlm_loss(logits, labels)
    on_one = mlm_loss(logits, labels, count=torch.tensor(masked / 4)) / 4  # the others have none
    torch.testing.assert_close(on_one, whole)


def test_a_batch_that_cannot_be_divided_is_refused(corpus, tmp_path, monkeypatch):
    from predrecon.training import machine

    class Three(machine.Accelerator):
        num_processes = 3

    monkeypatch.setattr(machine, "Accelerator", Three)
    with pytest.raises(ValueError, match="batch_size=8 cannot be divided among 3 processes"):
        pretrain(recipes.get("smoke"), corpus, tmp_path, seed=0)


@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler here")
@pytest.mark.filterwarnings("ignore")
def test_compiled_and_eager_agree(corpus):
    recipe = recipes.get("smoke")
    blocks = corpus.blocks("train", recipe.length)
    eager, compiled = (build_model(recipe, corpus, 0) for _ in range(2))
    compiled.compile_blocks()
    assert eager.state_dict().keys() == compiled.state_dict().keys()
    for step in range(3):  # context and target lengths differ from step to step
        batch = draw_batch(recipe, corpus, blocks, 0, step)
        losses = [model(**batch).loss for model in (eager, compiled)]
        torch.testing.assert_close(*losses, rtol=1e-5, atol=1e-5)
    for loss in losses:
        loss.backward()
    for one, other in zip(eager.parameters(), compiled.parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-5)


def test_a_tracker_that_is_not_installed_is_refused(corpus, tmp_path, monkeypatch):
    from predrecon.training import loop

    monkeypatch.setattr(loop, "get_available_trackers", lambda: [])
    with pytest.raises(ValueError, match="tracker='wandb': not installed"):
        pretrain(recipes.get("smoke"), corpus, tmp_path, tracker="wandb")
