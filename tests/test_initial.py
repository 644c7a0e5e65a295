"""Runs that begin from a ModernBERT's weights."""

import json
import shutil

import pytest
import torch
from test_modernbert import SHAPE
from transformers import (
    AutoModel,
    BertConfig,
    BertModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertModel,
)

from predrecon import recipes
from predrecon.data.corpus import load_corpus, load_tokenizer
from predrecon.data.readers import SourceError
from predrecon.model import Encoder
from predrecon.training import initial, run_folder
from predrecon.training.heldout import evaluate
from predrecon.training.loop import ensure, pretrain
from predrecon.training.optimizer import build_model
from predrecon.workbook import export
from predrecon.workbook.commands import main

SMALL = dict(max_steps=6, checkpoint_every=2, validation_blocks=16)


def source_folder(folder, tokenizer, *, model=ModernBertForMaskedLM, change=(), **other):
    """A ModernBERT as anybody may have saved it: local layers, MLPs 1.5 D wide."""
    ids = dict(pad_token_id=tokenizer.pad_token_id, cls_token_id=tokenizer.cls_token_id)
    ids |= dict(bos_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id)
    ids |= dict(eos_token_id=tokenizer.sep_token_id, vocab_size=len(tokenizer), hidden_size=32)
    shape = dict(intermediate_size=48, num_attention_heads=2, local_attention=16)
    torch.manual_seed(1)
    theirs = model(ModernBertConfig(**SHAPE | ids | shape | dict(change) | other)).eval()
    theirs.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def source(corpus, tmp_path_factory):
    return source_folder(tmp_path_factory.mktemp("source") / "mine", corpus.tokenizer)


@pytest.fixture(scope="module")
def exported(corpus, tmp_path_factory):
    """A finished modern run and the folder that it was exported to."""
    root = tmp_path_factory.mktemp("exported")
    recipe = recipes.get("smoke", arm="mlm", architecture="modern", optimizer="muon")
    run = pretrain(recipe, corpus, root / "run")
    return run, export.export(run, root / "folder", tasks=[])


def begin(folder, **change):
    return initial.fitted(recipes.get("smoke", init=str(folder), **SMALL | change))


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_an_exported_run_begins_at_its_held_out_loss(exported, tmp_path, arm):
    run, folder = exported
    recipe = begin(folder, arm=arm, optimizer="muon", max_steps=20, validation_blocks=32)
    corpus = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer)
    assert corpus.fingerprint == run.facts["corpus"], "the same tokenizer"
    following = pretrain(recipe, corpus, tmp_path / "run", seed=3)
    assert following.finished and following.recipe == recipe
    model = build_model(recipe, corpus, 3, initial.load(following.folder))
    losses = evaluate(model, recipe, corpus)
    assert losses["validation_mlm"] == pytest.approx(run.metrics["validation_mlm"], abs=1e-4)
    assert losses["validation_unigram"] == run.metrics["validation_unigram"]
    expected = run.encoder().state_dict()
    for encoder in (model.encoder, following.untrained_encoder()):
        assert all(torch.equal(t, expected[name]) for name, t in encoder.state_dict().items())
    assert any(
        not torch.equal(t, expected[name]) for name, t in following.encoder().state_dict().items()
    )


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_any_modernbert_is_begun_from(source, tmp_path, arm):
    """Shape, tokenizer and head are the source's; the rest is drawn from the seed."""
    recipe = begin(source, arm=arm)
    assert recipe.architecture == "modern" and recipe.hidden_size == 32
    assert (recipe.num_layers, recipe.num_heads, recipe.mlp_ratio) == (4, 2, 1.5)
    corpus = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer)
    run = pretrain(recipe, corpus, tmp_path / "run", seed=5)
    theirs = ModernBertForMaskedLM.from_pretrained(source).eval()
    ids = torch.randint(5, 8000, (2, 300))
    model = build_model(recipe, corpus, 5, initial.load(run.folder))
    with torch.no_grad():
        hidden = model.encoder.encode(ids)
        assert torch.allclose(hidden, theirs.model(ids).last_hidden_state, atol=1e-5)
        assert torch.allclose(model.logits(hidden), theirs(ids).logits, atol=1e-5)
        assert torch.equal(run.untrained_encoder().encode(ids), hidden)
        kept = AutoModel.from_pretrained(run.folder / "initial").eval()
        assert torch.equal(kept(ids).last_hidden_state, theirs.model(ids).last_hidden_state)
    facts = json.loads((run.folder / "initial" / "provenance.json").read_text())
    assert f"{facts['name']}@{facts['sha256']}" == recipe.init == run.recipe.init
    assert facts["name"] == str(source)
    config = run.encoder().config
    assert config.layer_types[:2] == ["full_attention", "sliding_attention"]
    assert config.max_position_embeddings == 512, "it reads as much as before"
    if arm == "hybrid":
        fresh = build_model(recipe, corpus, 6, initial.load(run.folder))
        for (name, one), other in zip(
            model.target.named_parameters(), model.encoder.parameters(), strict=True
        ):
            assert torch.equal(one, other), name
        pairs = zip(model.predictor.parameters(), fresh.predictor.parameters(), strict=True)
        assert any(not torch.equal(one, other) for one, other in pairs)
        assert model.balance.w.item() == 0


def test_resume_is_bit_exact_without_the_source(corpus, tmp_path):
    folder = source_folder(tmp_path / "mine", corpus.tokenizer)
    recipe = begin(folder)
    expected = pretrain(recipe, corpus, tmp_path / "whole").model().state_dict()
    pretrain(recipe, corpus, tmp_path / "parts", stop_after=1)  # no checkpoint but its last
    shutil.rmtree(folder)
    shutil.rmtree(tmp_path / "parts" / "checkpoints")
    again = pretrain(recipe, corpus, tmp_path / "parts").model().state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.items())


def test_the_command_goes_on_without_the_source(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "runs"))
    folder = source_folder(tmp_path / "mine", corpus.tokenizer)
    words = ["--preset", "smoke", "--max-steps", "4", "--validation-blocks", "4", "--arm", "mlm"]
    assert main(["pretrain", *words, "--init", str(folder)]) == 0
    first = capsys.readouterr().out.splitlines()[-2]
    shutil.rmtree(folder)
    assert main(["pretrain", *words, "--init", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "cannot be read" in out and out.splitlines()[-2] == first


def test_a_run_is_named_by_the_weights_not_by_where_they_are(corpus, source, tmp_path, monkeypatch):
    monkeypatch.setenv("PREDRECON_RUNS", str(tmp_path / "runs"))
    copied = shutil.copytree(source, tmp_path / "copied")
    other = source_folder(tmp_path / "other", corpus.tokenizer, norm_eps=1e-4)
    one, same, another = map(begin, (source, copied, other))
    place = run_folder.folder_of(one, corpus, 0)
    assert (
        run_folder.folder_of(same, corpus, 0) == place != run_folder.folder_of(another, corpus, 0)
    )
    run = ensure(one, corpus)
    assert run.folder == place
    assert ensure(recipes.get("smoke", init=str(copied), **SMALL), corpus) == run
    assert pretrain(same, corpus, run.folder) == run
    with pytest.raises(ValueError, match=r"holds another run \(init: "):
        pretrain(another, corpus, run.folder)
    plain = recipes.get("smoke", **SMALL)
    assert run_folder.folder_of(plain, corpus, 0) != place
    with pytest.raises(ValueError, match=r"call initial\.fitted\(recipe\) first"):
        run_folder.folder_of(recipes.get("smoke", init=str(source)), corpus, 0)


def test_without_a_head_training_begins_with_a_fresh_one(corpus, tmp_path):
    folder = source_folder(tmp_path / "mine", corpus.tokenizer, model=ModernBertModel)
    recipe = begin(folder, arm="mlm")
    one, other = (initial.open_source(recipe, corpus, seed) for seed in (0, 1))
    assert torch.equal(one.encoder.tokens.weight, other.encoder.tokens.weight)
    assert not torch.equal(one.regressor.w1.weight, other.regressor.w1.weight)
    run = pretrain(recipe, corpus, tmp_path / "run", seed=1)
    assert torch.equal(initial.load(run.folder).regressor.w1.weight, other.regressor.w1.weight)


def test_weights_that_changed_meanwhile_are_refused(corpus, tmp_path):
    folder = source_folder(tmp_path / "mine", corpus.tokenizer)
    recipe = begin(folder)
    source_folder(folder, corpus.tokenizer, norm_eps=1e-4)
    with pytest.raises(ValueError, match="holds other weights"):
        pretrain(recipe, corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--hidden-size 64", "hidden_size=64 (the weights: 32)"),
        ("--hidden-size 32 --num-layers 2", "leave out num_layers=2 (the weights: 4)"),
        ("--architecture published", "architecture=published (the weights: modern)"),
        ("--mlp-ratio 4", "mlp_ratio=4 (the weights: 1.5)"),
        ("--length 600", "length=600"),
    ],
)
def test_fields_that_contradict_the_weights_are_named(source, tmp_path, capsys, words, named):
    command = ["pretrain", "--preset", "smoke", "--init", str(source), *words.split()]
    assert main([*command, "--out", str(tmp_path / "run")]) == 1
    assert named in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_from_python_what_differs_from_the_preset_was_chosen(source):
    with pytest.raises(ValueError, match="leave out num_heads=4"):
        begin(source, num_heads=4)


def no_modernbert(folder, tokenizer):
    BertModel(BertConfig(vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                         intermediate_size=32)).save_pretrained(folder)  # fmt: skip


def no_weights(folder, tokenizer):
    (source_folder(folder, tokenizer) / "model.safetensors").unlink()


def biases(folder, tokenizer):
    source_folder(folder, tokenizer, attention_bias=True)


def nothing(folder, tokenizer):
    folder.mkdir()


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (no_modernbert, "it is of type 'bert', not a ModernBERT"),
        (no_weights, "no readable weights"),
        (biases, "attention_bias=True: the modern architecture does not compute that"),
        (nothing, "no readable configuration"),
    ],
)
def test_what_is_no_source_is_refused(corpus, tmp_path, make, named):
    make(tmp_path / "mine", corpus.tokenizer)
    with pytest.raises(SourceError, match=named):
        begin(tmp_path / "mine")


def test_a_run_is_to_be_exported_first(exported):
    with pytest.raises(SourceError, match=r"type 'predrecon'.*Export the run first"):
        begin(exported[0].folder)


def test_a_name_of_the_hub_offline_says_the_ways_out(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"no answer from the hub(.|\n)*Two ways out"):
        begin("some-one/some-modernbert")


@pytest.mark.parametrize("change", [dict(vocab_size=8000), dict(pad_token_id=7)])
def test_a_vocabulary_that_does_not_fit_is_refused(corpus, tmp_path, change):
    folder = source_folder(tmp_path / "mine", corpus.tokenizer, change=change)
    with pytest.raises(ValueError, match="They do not fit: use the tokenizer"):
        pretrain(begin(folder), corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_rows_without_a_token_are_kept(corpus, tmp_path):
    """Vocabularies are often padded to a multiple of 64."""
    folder = source_folder(tmp_path / "mine", corpus.tokenizer, change=dict(vocab_size=8256))
    run = pretrain(begin(folder, arm="mlm"), corpus, tmp_path / "run")
    assert run.encoder().config.vocab_size == 8256
    assert load_tokenizer(run.folder / "initial").get_vocab() == corpus.tokenizer.get_vocab()
    assert isinstance(run.untrained_encoder(), Encoder)


def test_the_grid_begins_from_fresh_weights(source, capsys):
    assert main(["grid", "--preset", "smoke", "--init", str(source)]) == 1
    assert "the grid's runs begin from fresh weights" in capsys.readouterr().err
