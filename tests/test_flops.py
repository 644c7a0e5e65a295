"""Counted operations against torch's own counter."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from predrecon import recipes
from predrecon.training.batches import draw_batch
from predrecon.training.flops import batch_flops, step_flops
from predrecon.training.optimizer import build_model


@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
@pytest.mark.parametrize(
    "change",
    [{}, {"predictor_size": 48, "predictor_heads": 4, "length": 64}, {"architecture": "modern"}],
)
def test_a_step_costs_what_torch_counts(corpus, arm, change):
    recipe = recipes.get("smoke", arm=arm, **change)
    model = build_model(recipe, corpus, 0)
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 3)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
        model(**batch).loss.backward()
    assert batch_flops(model.config, batch) == counted.get_total_flops()


def test_the_hybrid_costs_more():
    """2.9 times the encoder passes and predictor of the paper's shapes, at equal steps."""
    from predrecon.model import PredictReconstructConfig

    config = PredictReconstructConfig(arm="hybrid")
    mlm = PredictReconstructConfig(arm="mlm")
    shapes = dict(batch=8, length=128, masked=154)
    ratio = step_flops(config, **shapes, context=60, targets=(2, 22)) / step_flops(mlm, **shapes)
    assert 2 < ratio < 4


def test_the_count_is_of_the_whole_batch(corpus):
    recipe = recipes.get("smoke")
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    half = {k: torch.cat([v, v]) for k, v in batch.items()}
    config = build_model(recipe, corpus, 0).config
    assert batch_flops(config, half) == 2 * batch_flops(config, batch)
