"""Held-out losses, and whether a run leaves the plateau of word frequencies."""

import dataclasses

import numpy as np
import pytest

from predrecon import pretrain, recipes
from predrecon.data.corpus import load_corpus
from predrecon.seeding import numpy_generator
from predrecon.training import heldout
from predrecon.training.heldout import PLATEAU, below_unigram, evaluate, learned
from predrecon.training.optimizer import build_model

PAIRS = ("()", "[]", "{}", "<>")


def test_every_recipe_is_asked_the_same(corpus):
    """With more masks in training, another batch or optimiser, the held-out masks stay the same."""
    recipe = recipes.get("smoke", arm="mlm")
    model = build_model(recipe, corpus, seed=0)
    changed = dict(mlm_probability=0.4, batch_size=3, optimizer="muon", betas=(0.9, 0.98))
    losses = [evaluate(model, r, corpus) for r in (recipe, dataclasses.replace(recipe, **changed))]
    assert losses[0] == losses[1]
    assert losses[0]["below_unigram"] == below_unigram(losses[0])


def test_held_out_text_without_a_masked_token_is_refused_before_training(
    corpus, tmp_path, monkeypatch
):
    monkeypatch.setattr(heldout, "MASKED", 1e-9)
    with pytest.raises(ValueError, match="none of them is masked"):
        pretrain(recipes.get("smoke", arm="mlm"), corpus, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_says_what_it_has_learned(smoke_runs):
    words = learned({"validation_unigram": 6.0, "validation_mlm": 4.5})
    assert words == "1.50 nats below word frequencies"
    losses = [{"validation_unigram": 6.0, "validation_mlm": mlm} for mlm in (6.5, 4.5, 5.0)]
    for stuck in (
        losses[:1],
        losses,
        [{"validation_unigram": 6.0, "validation_mlm": 6 - PLATEAU / 2}],
    ):
        words = learned(*stuck)
        assert "on the plateau" in words and "architecture='modern'" in words
    assert learned(*losses).startswith("-0.50 to 1.50 nats below")
    assert learned(*losses[1:]) == "1.00 to 1.50 nats below word frequencies"
    assert learned(losses[0]).startswith("0.50 nats above word frequencies: on the plateau")
    metrics = smoke_runs["mlm"].metrics
    assert metrics["below_unigram"] == below_unigram(metrics)


def bracket_text(file, documents: int = 400):
    """Nested pairs of four kinds, equally frequent: an end follows from its beginning."""
    random = numpy_generator(0, "brackets")

    def nested(depth: int) -> list[str]:
        if depth == 0:
            return []
        inside, after = (nested(depth - 1 - int(random.integers(2)) * (depth > 1)) for _ in "ab")
        left, right = PAIRS[random.integers(4)]
        return [left, *inside, right, *after]

    texts = []
    while len(texts) < documents:
        words = [word for _ in range(6) for word in nested(6)]
        if len(words) >= 150:
            texts.append(" ".join(words[:150]))
    file.write_text("\n\n".join(texts), encoding="utf-8")
    return file


@pytest.mark.slow
def test_the_modern_recipe_learns_more_than_frequencies(tmp_path, monkeypatch, capsys):
    """A toy language whose words are all equally frequent: what is learned is structure."""
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path / "cache"))
    file = bracket_text(tmp_path / "brackets.txt")
    corpus = load_corpus(str(file), tokenizer="docstrings")
    options = dict(arm="mlm", corpus=str(file), tokenizer="docstrings", max_steps=300)
    modern = dict(architecture="modern", optimizer="muon", lr=5e-3, betas=(0.9, 0.98))
    nats = {}
    for name, changes in (("modern", modern), ("published", {})):
        recipe = recipes.get("smoke", **options, **changes)
        nats[name] = pretrain(recipe, corpus, tmp_path / name).metrics["below_unigram"]
    with capsys.disabled():
        print(f" nats below word frequencies: {nats}", end=" ")
    assert nats["modern"] > 0.5, "half of the brackets follow from the others"
    assert np.isfinite(nats["published"])
