"""Encoders that may be compared, and a known good one to place numbers beside."""

import pytest

from predrecon import metrics, recipes
from predrecon.audit import encoders
from predrecon.data.tasks import load_task
from predrecon.pooling import embed
from predrecon.training.loop import pretrain


def test_arms_of_one_recipe_may_differ_in_what_belongs_to_the_arm(corpus, tmp_path):
    """Such as the demo's separate learning rate for lambda, which MLM-only does not have."""
    short = dict(max_steps=2, validation_blocks=2)
    chosen = {arm: recipes.get("smoke", arm=arm, lam_lr=1e-2, **short) for arm in recipes.ARMS}
    runs = {arm: pretrain(recipe, corpus, tmp_path / arm) for arm, recipe in chosen.items()}
    for arms in (["hybrid", "mlm"], ["mlm", "hybrid"]):
        assert len(encoders.models({arm: runs[arm] for arm in arms}, corpus.tokenizer)) == 2


def test_runs_of_different_recipes_are_not_compared(smoke_runs, corpus, tmp_path):
    other = pretrain(recipes.get("smoke", arm="mlm", max_steps=5), corpus, tmp_path, seed=0)
    with pytest.raises(
        ValueError, match=r"not of one recipe: they differ in max_steps \(30 and 5\)"
    ):
        encoders.models({"hybrid": smoke_runs["hybrid"], "mlm": other}, corpus.tokenizer)


def test_a_known_good_encoder_is_used_only_if_installed(monkeypatch):
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    assert encoders.reference_models() == []


@pytest.mark.skipif(not encoders.reference_models(), reason="needs predrecon[minilm]")
def test_minilm_is_more_uniform_than_any_untrained_encoder(corpus):
    (minilm,) = encoders.reference_models()
    texts = load_task("docs-library").validation.first[:60]
    z = embed(minilm.encoder, minilm.tokenizer, texts, poolings=("mean",))["mean"]
    assert z.shape == (60, 384) and metrics.uniformity(z) < -2
