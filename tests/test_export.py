"""An exported run is a plain ModernBERT: transformers computes with it what we do."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer

from predrecon import recipes
from predrecon.pooling import embed, pool, token_ids
from predrecon.training.loop import pretrain
from predrecon.training.run_folder import Run
from predrecon.workbook import export
from predrecon.workbook.commands import main

TEXTS = ["Return the mean of an array along an axis.", "A graph [SEP] has nodes and edges. " * 20]
MODERN = dict(architecture="modern", optimizer="muon", num_layers=3)


@pytest.fixture(scope="module")
def modern_runs(corpus, tmp_path_factory):
    """Both arms of a modern smoke run, `{arm: Run}`."""
    root = tmp_path_factory.mktemp("runs")
    return {
        arm: pretrain(recipes.get("smoke", arm=arm, **MODERN), corpus, root / arm)
        for arm in ("hybrid", "mlm")
    }


@pytest.fixture(scope="module")
def folders(modern_runs, labelled, tmp_path_factory):
    """Both exported, the hybrid with geometry on `labelled`, `{arm: folder}`."""
    root = tmp_path_factory.mktemp("exports")
    tasks = {"hybrid": labelled, "mlm": []}
    return {
        arm: export.export(run, root / f"tiny-{arm}", tasks=tasks[arm])
        for arm, run in modern_runs.items()
    }


@torch.no_grad()
@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_transformers_computes_the_same(modern_runs, folders, arm):
    """Ids, hidden states, logits and the mean over tokens, of a short text and one that is cut."""
    run, folder = modern_runs[arm], folders[arm]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder).eval()
    masked = AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert type(encoder).__name__ == "ModernBertModel"
    model = run.model()
    batch = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
    ids, real = batch["input_ids"], batch["attention_mask"]
    ours = AutoTokenizer.from_pretrained(run.folder)
    for row, mask, expected in zip(ids, real, token_ids(ours, TEXTS, None, 48), strict=True):
        assert row[mask.bool()].tolist() == expected
    assert ids.shape[1] == 48, "cut at the longest input"
    theirs = encoder(**batch).last_hidden_state
    hidden = model.encoder(ids, attention_mask=real).last_hidden_state
    assert torch.allclose(theirs * real[..., None], hidden, atol=1e-5, rtol=0)
    logits = masked(**batch).logits[real.bool()]
    assert torch.allclose(logits, model.logits(hidden)[real.bool()], atol=1e-5, rtol=0)
    vectors = embed(model.encoder, ours, TEXTS, poolings=("mean",))["mean"]
    assert torch.allclose(pool(theirs, real, "mean"), torch.from_numpy(vectors), atol=1e-5, rtol=0)
    settings = encoder.config
    assert settings.layer_types == ["full_attention"] * 3
    assert (settings.pad_token_id, settings.cls_token_id, settings.mask_token_id) == (
        tokenizer.pad_token_id, tokenizer.cls_token_id, tokenizer.mask_token_id
    )  # fmt: skip


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_the_folder_is_one_for_sentence_transformers(folders, arm):
    """By its file formats; it was opened manually with sentence-transformers 6.2 (LOG.md)."""
    folder = folders[arm]
    modules = json.loads((folder / "modules.json").read_text())
    assert [module["path"] for module in modules] == ["", "1_Pooling"]
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_mean_tokens"] and pooling["word_embedding_dimension"] == 32
    assert json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"] == 48


def test_sentence_transformers_gives_the_same_vectors(modern_runs, folders):
    package = pytest.importorskip("sentence_transformers")
    vectors = package.SentenceTransformer(str(folders["hybrid"]), device="cpu").encode(TEXTS)
    run = modern_runs["hybrid"]
    tokenizer = AutoTokenizer.from_pretrained(run.folder)
    expected = embed(run.encoder(), tokenizer, TEXTS, poolings=("mean",))["mean"]
    assert abs(vectors - expected).max() < 1e-5


def test_it_opens_without_this_package(folders, tmp_path):
    code = (
        "import sys\n"
        "from transformers import AutoModel, AutoModelForMaskedLM\n"
        f"for arm in {[str(folder) for folder in folders.values()]!r}:\n"
        "    AutoModel.from_pretrained(arm), AutoModelForMaskedLM.from_pretrained(arm)\n"
        "print([m for m in sys.modules if m.startswith('predrecon')])"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env=environment, timeout=120,
    )  # fmt: skip
    assert done.stdout.strip() == "[]", done.stderr


def test_the_card_says_what_it_is(modern_runs, folders):
    card = (folders["hybrid"] / "README.md").read_text()
    metrics = modern_runs["hybrid"].metrics
    assert f"Held-out MLM loss {metrics['validation_mlm']:.3f} nats" in card
    assert "leaves out the predictor, the target encoder" in card and "numpy" in card
    assert f"{metrics['tokens']:,} tokens" in card and "architecture=modern" in card
    assert re.search(r"\| Docs-swap \(N = 120\) \| \d\.\d+ \[\d", card)
    assert "on the plateau" in card and "one run of one seed" in card
    other = (folders["mlm"] / "README.md").read_text()
    assert "predictor, the target" not in other and "Not measured" in other


def test_own_text_has_an_unknown_license_and_no_path_of_ours():
    assert "(`mine.txt`). Its license is unknown" in export._text_license("/home/me/mine.txt")
    assert "CC BY-SA" in export._text_license("wikipedia")


def test_the_published_architecture_is_exported_as_it_is(smoke_runs, tmp_path, capsys):
    run, folder = smoke_runs["hybrid"], tmp_path / "out"
    assert main(["export", str(run.folder), str(folder), "--no-geometry"]) == 0
    assert export.NO_MODERNBERT in capsys.readouterr().out
    assert export.NO_MODERNBERT in (folder / "README.md").read_text()
    again = Run(folder)
    assert again.recipe == run.recipe and again.metrics == run.metrics
    expected = run.model().state_dict()
    for name, tensor in again.model().state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    ids = AutoTokenizer.from_pretrained(folder)(TEXTS, truncation=True)["input_ids"]
    assert ids == token_ids(AutoTokenizer.from_pretrained(run.folder), TEXTS, None, 48)
    assert not (folder / "modules.json").exists()


def test_nothing_is_overwritten_or_left_half_written(modern_runs, tmp_path, monkeypatch, capsys):
    run = modern_runs["mlm"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "file").touch()
    for name in ("full", "file"):
        assert main(["export", str(run.folder), str(tmp_path / name), "--no-geometry"]) == 1
        assert "exists and is not empty. Name another folder." in capsys.readouterr().err

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(export, "_add_modules", fail)
    with pytest.raises(OSError, match="no space"):
        export.export(run, tmp_path / "new", tasks=[])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]
    monkeypatch.undo()
    (tmp_path / "empty").mkdir()
    assert export.export(run, tmp_path / "empty", tasks=[]).is_dir()
    assert (tmp_path / "empty" / "model.safetensors").is_file()


def test_an_unfinished_run_and_no_run_are_refused(corpus, tmp_path, capsys):
    recipe = recipes.get("smoke", arm="mlm", **MODERN)
    pretrain(recipe, corpus, tmp_path / "half", stop_after=10)
    for name, said in (
        ("half", "not finished. Run the pretrain command"),
        ("none", "no run (no recipe.json)"),
    ):
        assert main(["export", str(tmp_path / name), str(tmp_path / "out")]) == 1
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_is_found_by_its_name(modern_runs, monkeypatch):
    run = modern_runs["mlm"]
    monkeypatch.setenv("PREDRECON_RUNS", str(run.folder.parent))
    assert export.find_run("mlm") == run
