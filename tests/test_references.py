"""A known good encoder to place numbers beside."""

import pytest

from predrecon import metrics
from predrecon.audit import encoders
from predrecon.data.tasks import load_task
from predrecon.pooling import embed


def test_a_known_good_encoder_is_used_only_if_installed(monkeypatch):
    monkeypatch.setattr(encoders.importlib.util, "find_spec", lambda name: None)
    assert encoders.reference_models() == []


@pytest.mark.skipif(not encoders.reference_models(), reason="needs predrecon[minilm]")
def test_minilm_is_more_uniform_than_any_untrained_encoder(corpus):
    (minilm,) = encoders.reference_models()
    texts = load_task("docs-library").validation.first[:60]
    z = embed(minilm.encoder, minilm.tokenizer, texts, poolings=("mean",))["mean"]
    assert z.shape == (60, 384) and metrics.uniformity(z) < -2
