"""The modern architecture and transformers' ModernBERT are the same computation, both ways."""

from types import SimpleNamespace

import pytest
import torch
from transformers import AutoConfig, AutoModelForMaskedLM, ModernBertConfig, ModernBertForMaskedLM

from predrecon.model import PredictReconstruct, PredictReconstructConfig
from predrecon.modernbert import digest, from_modernbert, shape_of, to_modernbert

TOKENIZER = SimpleNamespace(cls_token_id=2, sep_token_id=3, mask_token_id=4)
SHAPE = dict(
    vocab_size=200, hidden_size=64, num_hidden_layers=4, num_attention_heads=4,
    intermediate_size=96, max_position_embeddings=512, pad_token_id=0, bos_token_id=2,
    cls_token_id=2, eos_token_id=3, sep_token_id=3,
)  # fmt: skip


def theirs(**change):
    """A ModernBERT in which every weight counts; by default with local layers, as on the hub."""
    torch.manual_seed(0)
    model = ModernBertForMaskedLM(ModernBertConfig(**SHAPE | change)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def ours(model, **options):
    return from_modernbert(model.state_dict(), shape_of(model.config), **options)


def texts(length):
    """Ids `[3, L]` and masks: one padded on the right, one on the left, one whole."""
    ids = torch.randint(5, 200, (3, length), generator=torch.Generator().manual_seed(length))
    real = torch.ones_like(ids)
    real[0, length // 3 :] = 0
    real[1, : length // 4] = 0
    return ids, real


@torch.no_grad()
@pytest.mark.parametrize(
    "change",
    [
        dict(),  # windows of 128, two bases of the rotation, MLPs 1.5 D wide
        dict(layer_types=["full_attention"] * 4),
        dict(layer_types=["sliding_attention"] * 4, local_attention=9),
        dict(local_attention=32, intermediate_size=100, decoder_bias=False, norm_eps=1e-3),
    ],
)
@pytest.mark.parametrize("length", [10, 65, 66, 512])
def test_any_modernbert_is_computed(change, length):
    reference = theirs(**change)
    model = ours(reference)
    ids, real = texts(length)
    expected = reference.model(ids, attention_mask=real).last_hidden_state * real[..., None]
    hidden = model.encoder(ids, attention_mask=real).last_hidden_state
    assert torch.allclose(hidden, expected, atol=1e-5, rtol=0)
    logits = model.logits(model.encoder.encode(ids))
    assert torch.allclose(logits, reference(ids).logits, atol=1e-5, rtol=0)


@torch.no_grad()
def test_context_tokens_keep_their_distances_in_local_layers():
    """Leaving tokens out equals not attending to them: a window counts positions, not tokens."""
    encoder = ours(theirs(local_attention=12)).encoder
    ids, _ = texts(60)
    keep = torch.tensor([0, 1, 2, 9, 10, 30, 31, 33, 59]).expand(3, -1)
    kept = torch.zeros(60, dtype=torch.bool)
    kept[keep[0]] = True
    expected = encoder.encode(ids, key_mask=kept[None, None, None, :])[:, kept]
    assert torch.allclose(encoder.encode(ids, keep=keep), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("arm", ["hybrid", "mlm"])
def test_our_models_become_modernbert(tmp_path, arm):
    config = PredictReconstructConfig(
        vocab_size=200, hidden_size=32, num_hidden_layers=3, num_attention_heads=2, mlp_ratio=2,
        max_position_embeddings=48, predictor_size=32, predictor_layers=1, predictor_heads=2,
        arm=arm, architecture="modern",
    )  # fmt: skip
    model = PredictReconstruct.build(config, 0).eval()
    for parameter in model.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    to_modernbert(model, TOKENIZER).save_pretrained(tmp_path)
    reopened = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    ids, real = texts(48)
    hidden = model.encoder(ids, attention_mask=real).last_hidden_state
    expected = reopened.model(ids, attention_mask=real).last_hidden_state * real[..., None]
    assert torch.allclose(hidden, expected, atol=1e-5, rtol=0)
    logits = model.logits(model.encoder.encode(ids))
    assert torch.allclose(logits, reopened(ids).logits, atol=1e-5, rtol=0)
    written = AutoConfig.from_pretrained(tmp_path)
    assert (written.cls_token_id, written.sep_token_id, written.mask_token_id) == (2, 3, 4)
    assert written.tie_word_embeddings and written.norm_eps == config.layer_norm_eps


def test_there_and_back_bit_for_bit():
    reference = theirs()
    again = to_modernbert(ours(reference), TOKENIZER)
    assert again.config.layer_types == reference.config.layer_types
    for name, tensor in reference.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name
    shape = shape_of(reference.config)
    assert shape_of(again.config) == shape
    assert digest(again.state_dict(), shape) == digest(reference.state_dict(), shape)


def test_the_digest_is_of_what_is_computed():
    reference = theirs()
    weights, shape = reference.state_dict(), shape_of(reference.config)
    changed = weights | {"decoder.bias": weights["decoder.bias"] + 1e-3}
    assert digest(weights, shape) != digest(changed, shape)
    assert digest(weights, shape) != digest(weights, shape | {"local_attention": 64})


def test_a_model_of_other_weights_saves_and_opens(tmp_path):
    model = ours(theirs())
    model.save_pretrained(tmp_path)
    again = PredictReconstruct.from_pretrained(tmp_path).eval()
    ids, _ = texts(300)
    assert torch.equal(again.encoder.encode(ids), model.encoder.encode(ids))


def test_without_a_head_it_is_drawn_from_the_seed():
    reference = theirs()
    weights = {k: v for k, v in reference.state_dict().items() if k.startswith("model.")}
    one, same, other = (
        from_modernbert(weights, shape_of(reference.config), seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(one.regressor.w1.weight, same.regressor.w1.weight)
    assert not torch.equal(one.regressor.w1.weight, other.regressor.w1.weight)
    assert torch.equal(one.encoder.tokens.weight, other.encoder.tokens.weight)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (dict(norm_bias=True), "norm_bias=True"),
        (dict(attention_bias=True, mlp_bias=True), "attention_bias=True, mlp_bias=True"),
        (dict(hidden_activation="relu"), "hidden_activation='relu'"),
        (dict(tie_word_embeddings=False), "tie_word_embeddings=False"),
        (
            dict(rope_parameters={"full_attention": dict(rope_type="linear", factor=2.0)}),
            "full_attention: rope_type='linear'",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused(change, named):
    with pytest.raises(ValueError, match=f"{named}: the modern architecture does not compute"):
        shape_of(ModernBertConfig(**SHAPE | change))


def test_the_published_architecture_is_no_modernbert():
    model = PredictReconstruct.build(PredictReconstructConfig(
        vocab_size=50, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, arm="mlm"
    ), 0)  # fmt: skip
    with pytest.raises(ValueError, match="'published': only the modern one"):
        to_modernbert(model, TOKENIZER)


@pytest.mark.parametrize(
    "change",
    [dict(layer_types=["full_attention"]), dict(layer_types=["other"] * 6),
     dict(layer_types=["full_attention"] * 6, architecture="published")],
)  # fmt: skip
def test_layer_types_that_do_not_fit_are_named(change):
    with pytest.raises(ValueError, match="layer_types"):
        PredictReconstructConfig(**dict(architecture="modern") | change)
