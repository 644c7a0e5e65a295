"""Recipes: presets, overrides, and values that are refused by field."""

import pytest
import torch

from predrecon import recipes


def test_recipes():
    paper = recipes.get("paper")
    table_1 = dict(
        epochs=3, batch_size=64, lr=5e-5, warmup_steps=10, weight_decay=0.05, precision="bf16",
        ema=(0.996, 1.0), context_scale=(0.65, 0.85), target_scale=(0.10, 0.25), num_targets=2,
        min_context=32, mlm_probability=0.15, length=512, hidden_size=512, predictor_layers=6,
        predictor_size=512, token_scale="none",
    )  # fmt: skip
    assert {k: getattr(paper, k) for k in table_1} == table_1
    assert paper.steps(blocks=6400) == 300
    assert recipes.get("demo", max_steps=None, corpus="auto") == recipes.get("demo")
    assert recipes.arms("hybrid, mlm") == ["hybrid", "mlm"]


@pytest.mark.parametrize(
    ("preset", "change", "named"),
    [
        ("huge", {}, "smoke, demo, demo-published, paper, modern"),
        ("demo", {"learning_rate": 1}, "No such field of a recipe: learning_rate"),
        ("demo", {"arm": "jepa"}, "hybrid, mlm"),
        ("demo", {"max_steps": -1}, "max_steps=-1"),
        ("demo", {"precision": "fp8"}, "fp32, bf16"),
        ("demo", {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_recipes_are_named(preset, change, named):
    with pytest.raises(ValueError, match=named):
        recipes.get(preset, **change)


def test_auto_preset(monkeypatch):
    monkeypatch.delenv("PREDRECON_PRESET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert recipes.get("auto").preset == "paper"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert recipes.get("auto").preset == "demo"
    monkeypatch.setenv("PREDRECON_PRESET", "smoke")
    assert recipes.get("auto").preset == "smoke"


def test_a_fixed_lambda_drops_the_rate_of_its_preset():
    assert recipes.get("demo").lam_lr == 1e-3 and recipes.get("demo", lam=0.5).lam_lr is None
    with pytest.raises(ValueError, match=r"lam_lr=0\.01, lam=0\.5"):
        recipes.get("demo", lam=0.5, lam_lr=0.01)


def test_the_published_twin_keeps_what_was_chosen():
    chosen = {"max_steps": 7, "length": 32, "corpus": "some/text"}
    for preset, published in (("demo", "demo-published"), ("modern", "paper")):
        twin = recipes.published_twin(recipes.get(preset, **chosen, arm="mlm"))
        assert twin == recipes.get(published, **chosen, arm="mlm")
        assert twin.architecture == "published" and recipes.published_twin(twin) is None
