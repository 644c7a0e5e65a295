import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from predrecon import recipes
from predrecon.objectives import ema_momentum, learning_rate, predicted_lambda
from predrecon.training import machine, monitor
from predrecon.training.batches import draw_batch
from predrecon.training.heldout import evaluate
from predrecon.training.loop import ensure, every_seed, pretrain
from predrecon.training.optimizer import (
    MuonAndAdamW,
    build_model,
    build_optimizer,
    model_config,
    parameter_groups,
)
from predrecon.training.run_folder import Run, folder_of

SMOKE = recipes.get("smoke", max_steps=14, checkpoint_every=5)
RECIPES = [("published", "adamw"), ("modern", "muon")]


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
@pytest.mark.parametrize(("architecture", "optimizer"), RECIPES)
def test_resume_is_bit_exact(corpus, tmp_path, arm, architecture, optimizer):
    recipe = dataclasses.replace(SMOKE, arm=arm, architecture=architecture, optimizer=optimizer)
    uninterrupted = pretrain(recipe, corpus, tmp_path / "uninterrupted", seed=3)
    pretrain(recipe, corpus, tmp_path / "parts", seed=3, stop_after=4)
    pretrain(recipe, corpus, tmp_path / "parts", seed=3, stop_after=11)
    parts = pretrain(recipe, corpus, tmp_path / "parts", seed=3)
    assert same(weights(uninterrupted.folder), weights(parts.folder))
    timed = ["tokens_per_s", "seconds"]
    pd.testing.assert_frame_equal(
        uninterrupted.history.drop(columns=timed), parts.history.drop(columns=timed)
    )


def test_resume_survives_a_kill_between_checkpoints(corpus, tmp_path):
    """History rows written after the last checkpoint are cut and written again."""
    uninterrupted = pretrain(SMOKE, corpus, tmp_path / "uninterrupted", seed=0)

    def stop(row):
        if row["step"] == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(SMOKE, corpus, tmp_path / "killed", seed=0, on_log=stop)
    assert pd.read_csv(tmp_path / "killed" / "history.csv")["step"].max() == 8
    again = pretrain(SMOKE, corpus, tmp_path / "killed", seed=0)
    assert again.history["step"].tolist() == uninterrupted.history["step"].tolist()
    assert same(weights(uninterrupted.folder), weights(again.folder))


def test_a_run_is_complete_and_opens_with_auto_classes(smoke_runs):
    run = smoke_runs["hybrid"]
    columns = "step tokens loss jepa_loss mlm_loss lam jepa_gradient mlm_gradient "
    columns += "gradient_cosine lr ema_momentum tokens_per_s seconds flops"
    assert list(run.history) == [*columns.split(), *monitor.COLUMNS, "state"]
    assert run.history["step"].tolist() == list(range(1, 31))
    assert (run.history["tokens"] == run.history["step"] * 8 * 48).all()
    assert run.metrics["validation_mlm"] > 0 and run.metrics["validation_jepa"] < 2
    assert run.recipe == recipes.get("smoke")
    encoder = AutoModel.from_pretrained(run.folder)
    tokenizer = AutoTokenizer.from_pretrained(run.folder)
    batch = tokenizer(["two words", "and five words in here"], padding=True, return_tensors="pt")
    hidden = encoder(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    assert hidden.shape == (*batch["input_ids"].shape, 32)


def test_training_learns_and_the_target_follows(smoke_runs):
    history = smoke_runs["mlm"].history
    assert history["mlm_loss"].iloc[-5:].mean() < history["mlm_loss"].iloc[:5].mean() - 0.3
    model = smoke_runs["hybrid"].model()
    pairs = zip(model.target.parameters(), model.encoder.parameters(), strict=True)
    moved = [not torch.equal(a, b) for a, b in pairs]
    assert any(moved), "an EMA lags behind"


def test_mlm_arm_has_no_jepa_branch(smoke_runs):
    history = smoke_runs["mlm"].history
    assert history["jepa_loss"].isna().all() and (history["lam"] == 0).all()
    assert not any(k.startswith(("predictor", "target")) for k in weights(smoke_runs["mlm"].folder))


def test_arms_see_the_same_batches_and_token_masks(corpus):
    blocks = corpus.blocks("train", SMOKE.length)
    hybrid, mlm = (
        draw_batch(dataclasses.replace(SMOKE, arm=arm), corpus, blocks, 5, 9)
        for arm in ("hybrid", "mlm")
    )
    for name in ("input_ids", "masked_ids", "labels"):
        assert torch.equal(hybrid[name], mlm[name])
    torch.manual_seed(123)  # global state is not consulted
    again = draw_batch(SMOKE, corpus, blocks, 5, 9)
    assert all(torch.equal(hybrid[k], again[k]) for k in hybrid)
    other = draw_batch(SMOKE, corpus, blocks, 5, 10)
    assert not torch.equal(hybrid["input_ids"], other["input_ids"])


def test_every_block_is_seen_once_an_epoch(corpus):
    blocks = corpus.blocks("validation", 512)
    n = len(blocks)
    order = np.concatenate([blocks.order(0, step, 7) for step in range(2 * n // 7 + 1)])[: 2 * n]
    assert sorted(order[:n]) == sorted(order[n:]) == list(range(n))
    assert not np.array_equal(order[:n], order[n:])


def test_schedules():
    paper = recipes.get("paper")
    assert learning_rate(paper, 0, 1000) == pytest.approx(5e-6)
    assert learning_rate(paper, 9, 1000) == pytest.approx(5e-5)
    assert learning_rate(paper, 505, 1000) == pytest.approx(2.5e-5, rel=1e-3)
    assert 0 <= learning_rate(paper, 999, 1000) < 1e-9
    assert ema_momentum(paper, 0, 1000) == 0.996 and ema_momentum(paper, 999, 1000) == 1.0
    lam = predicted_lambda(paper, 1000)
    total = sum(learning_rate(paper, s, 1000) for s in range(1000))
    assert lam[-1] == pytest.approx(1 / (1 + math.exp(-total)))


def test_lambda_follows_the_learning_rate(smoke_runs):
    run = smoke_runs["hybrid"]
    predicted = predicted_lambda(run.recipe, 30)[-1]
    assert run.history["lam"].iloc[-1] == pytest.approx(predicted, abs=0.002)
    assert predicted > 0.503


def test_weight_decay_spares_vectors_and_the_balance(corpus):
    from predrecon.model import PredictReconstruct

    model = PredictReconstruct.build(model_config(SMOKE, corpus), 0)
    decayed, vectors, balance = parameter_groups(model, SMOKE)
    spared = {"params": vectors["params"] + balance["params"]}
    assert vectors["weight_decay"] == balance["weight_decay"] == 0
    assert decayed["weight_decay"] == 0.05
    assert any(p is model.balance.w for p in spared["params"])
    trained = sum(p.requires_grad for p in model.parameters())
    assert len(decayed["params"]) + len(spared["params"]) == trained


def test_muon_has_the_matrices_of_the_blocks_and_a_rate_of_its_own(corpus):
    recipe = recipes.get("smoke", optimizer="muon", architecture="modern", muon_lr=0.3, lam_lr=0.1)
    model = build_model(recipe, corpus, 0)
    groups = build_optimizer(model, recipe).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    of_muon = [names[id(p)] for group in groups if group.get("muon") for p in group["params"]]
    parts = ("qkv", "proj", "up", "down")
    assert len(of_muon) == 4 * (recipe.num_layers + recipe.predictor_layers)
    assert all(".blocks." in name and name.split(".")[-2] in parts for name in of_muon)
    assert {group["peak"] for group in groups} == {recipe.lr, 0.1, 0.3}
    every = [id(p) for group in groups for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_muon_needs_matrices():
    vectors = {"params": [torch.nn.Parameter(torch.zeros(3))], "peak": 0.1}
    with pytest.raises(ValueError, match="optimizer='adamw'"):
        MuonAndAdamW([vectors], betas=(0.9, 0.999))


def test_muon_turns_matrices_and_adamw_the_rest(corpus):
    """One step of rate r: a matrix moves by an orthogonal one of that size, a vector by r."""
    recipe = recipes.get("smoke", optimizer="muon", architecture="modern", weight_decay=0.0)
    model = build_model(recipe, corpus, 0)
    optimizer = build_optimizer(model, recipe)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    model(**batch).loss.backward()
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    optimizer.step()
    moved = {name: p.detach() - before[name] for name, p in model.named_parameters()}
    sigma = torch.linalg.svdvals(moved["encoder.blocks.0.qkv.weight"]) / (0.01 * math.sqrt(3))
    assert 0.6 < sigma.median() and sigma.max() < 1.3, "five Newton-Schulz iterations: near 1"
    assert moved["regressor.bias"].abs().max().item() == pytest.approx(0.01, rel=1e-3)


def test_a_run_of_another_architecture_is_refused(corpus, tmp_path):
    pretrain(SMOKE, corpus, tmp_path, seed=0, stop_after=1)
    modern = dataclasses.replace(SMOKE, architecture="modern", optimizer="muon")
    with pytest.raises(ValueError, match=r"architecture: 'published'.*'modern'"):
        pretrain(modern, corpus, tmp_path, seed=0)


def test_a_folder_with_another_run_is_refused(corpus, tmp_path):
    pretrain(SMOKE, corpus, tmp_path, seed=0, stop_after=2)
    changed = dataclasses.replace(SMOKE, lr=5e-4)
    with pytest.raises(ValueError, match=r"lr: 0.001 there, 0.0005 requested"):
        pretrain(changed, corpus, tmp_path, seed=0)
    with pytest.raises(ValueError, match="seed: 0 there, 1 requested"):
        pretrain(SMOKE, corpus, tmp_path, seed=1)
    other = dataclasses.replace(corpus, fingerprint="another text")
    with pytest.raises(ValueError, match=r"corpus: '.*' there, 'another text' requested"):
        pretrain(SMOKE, other, tmp_path, seed=0)
    renamed = dataclasses.replace(SMOKE, corpus="./docstrings")
    pretrain(renamed, corpus, tmp_path, seed=0, stop_after=2)  # the text counts, not its name
    with pytest.raises(FileExistsError, match="resume=True"):
        pretrain(SMOKE, corpus, tmp_path, seed=0, resume=False)


def test_too_short_a_validation_text_shows_before_training(corpus, tmp_path):
    class Short(type(corpus)):
        def blocks(self, split, length):
            if split == "validation":
                raise ValueError("do not fill one block")
            return super().blocks(split, length)

    short = Short(**{f.name: getattr(corpus, f.name) for f in dataclasses.fields(corpus)})
    with pytest.raises(ValueError, match="do not fill one block"):
        pretrain(SMOKE, short, tmp_path / "run", seed=0)
    assert not (tmp_path / "run").exists()


def test_divergence_stops_with_the_step_and_the_way_out(corpus, tmp_path):
    exploding = dataclasses.replace(SMOKE, lr=1e30)
    with pytest.raises(FloatingPointError, match=r"at step \d+.*lower lr"):
        pretrain(exploding, corpus, tmp_path, seed=0)
    assert not (tmp_path / "metrics.json").exists()


def test_checkpoints_are_pruned_and_carry_no_pickled_objects(corpus, tmp_path):
    pretrain(SMOKE, corpus, tmp_path, seed=0)
    names = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-00000010", "step-00000014"]
    files = {p.name for p in (tmp_path / "checkpoints" / names[0]).iterdir()}
    assert files == {"model.safetensors", "optimizer.safetensors", "checkpoint.json"}


def test_ensure_trains_once(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path))
    rows = []
    first = ensure(SMOKE, corpus, seed=0, on_log=rows.append)
    second = ensure(SMOKE, corpus, seed=0, on_log=rows.append)
    assert first == second and len(rows) == 14
    assert folder_of(SMOKE, corpus, 0) != folder_of(SMOKE, corpus, 1)
    assert first.folder.parent == tmp_path


@pytest.mark.parametrize("name", ["corpus[1].txt", "what?*.txt", "texts-seed0-[a-b].txt"])
def test_runs_are_found_whatever_their_corpus_is_called(corpus, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "runs[2]"))
    short = dataclasses.replace(SMOKE, arm="mlm", max_steps=1, validation_blocks=1)
    recipe = dataclasses.replace(short, corpus=name)
    for seed in (10, 2):
        ensure(recipe, corpus, seed=seed)
    ensure(dataclasses.replace(short, corpus="corpus1.txt"), corpus, seed=3)
    runs = every_seed(recipe, ["mlm"], corpus, seed=2)["mlm"]
    assert [run.facts["seed"] for run in runs] == [2, 10]
    assert {run.recipe for run in runs} == {recipe}


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_held_out_losses_do_not_depend_on_the_batch_size(corpus, arm):
    recipe = dataclasses.replace(SMOKE, arm=arm, validation_blocks=70)
    model = build_model(recipe, corpus, 0)
    losses = [
        evaluate(model, dataclasses.replace(recipe, batch_size=size), corpus)
        for size in (8, 32, 48)
    ]
    for other in losses[1:]:
        for name in ("validation_unigram", "validation_masked_tokens"):
            assert losses[0][name] == other[name]
        assert losses[0] == pytest.approx(other, abs=1e-6)


def test_precision_is_what_is_fastest_unless_the_recipe_says(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for requested in ("fp32", "bf16"):
        assert machine.precision(requested, cpu, 64) == requested
    capable = {"avx512_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable)
    assert machine.precision("auto", cpu, 512) == "bf16"
    assert machine.precision("auto", cpu, 128) == "fp32", "small matrices gain nothing"
    capable.clear()
    assert machine.precision("auto", cpu, 512) == "fp32"
    for supported, expected in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda s=supported, **_: s)
        assert machine.precision("auto", gpu, 512) == expected
    assert machine.compiles(None, gpu) and not machine.compiles(None, cpu)
    assert machine.compiles(True, cpu) and not machine.compiles(False, gpu)


def test_a_checkout_that_is_not_installed_trains_and_says_so(monkeypatch):
    version = machine.importlib.metadata.version

    def only_others(name):
        if name == "predrecon":
            raise machine.importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(machine.importlib.metadata, "version", only_others)
    versions = machine.environment(torch.device("cpu"))["versions"]
    assert versions["predrecon"] == "not installed" and versions["torch"] == version("torch")


def test_recipes_of_other_versions_open(tmp_path):
    values = dataclasses.asdict(SMOKE) | {"of_a_later_version": 1}
    del values["lam_lr"]  # as a version wrote it that did not have this field
    facts = {"seed": 0, "corpus": "a fingerprint", "recipe": values}
    (tmp_path / "recipe.json").write_text(json.dumps(facts))
    assert Run(tmp_path).recipe == SMOKE
