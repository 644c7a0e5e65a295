"""Architecture, gradient flow, EMA, and the way through save_pretrained and AutoModel."""

import json
import math

import pytest
import torch
import torch.nn.functional as F
from transformers import AutoConfig, AutoModel, ModernBertConfig, ModernBertForMaskedLM

import predrecon
from predrecon.masking import block_masks, token_masks
from predrecon.model import PredictReconstruct, PredictReconstructConfig
from predrecon.objectives import balance_gradient, jepa_loss, mlm_loss
from predrecon.recipes import ARCHITECTURES

SMALL = dict(
    vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    max_position_embeddings=48, predictor_size=16, predictor_layers=1, predictor_heads=2,
)  # fmt: skip


both_architectures = pytest.mark.parametrize("architecture", ARCHITECTURES)


def build(arm="hybrid", **more):
    return PredictReconstruct.build(PredictReconstructConfig(**(SMALL | more), arm=arm), seed=0)


def shaken(**more):
    """A model whose weights are far from their initial values, norms and biases included."""
    model = build(**more)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(5, 100, (4, 48), generator=generator)
    masked, labels = token_masks(
        ids, mask_token_id=4, vocab_size=100, special_ids=range(5), generator=generator
    )
    masks = block_masks(4, 48, min_context=8, generator=generator)
    named = dict(input_ids=ids, masked_ids=masked, labels=labels)
    return named | dict(context=masks.context, targets=masks.targets)


def test_encoder_has_the_published_size():
    with torch.device("meta"):
        encoder = predrecon.Encoder(PredictReconstructConfig())
    values = sum(p.numel() for p in encoder.parameters()) + encoder.positions.table.numel()
    assert round(values / 1e6, 1) == 34.8  # the author's logs count the frozen positions


def test_initialisation():
    model = build()
    assert model.encoder.tokens.weight.std().item() == pytest.approx(0.02, abs=0.0005)
    for layer, block in enumerate(model.encoder.blocks, start=1):
        ratio = (block.down.weight.std() / block.up.weight.std()).item()
        assert ratio == pytest.approx(1 / math.sqrt(2 * layer), rel=0.05)
    table = model.encoder.positions.table
    assert table.abs().max() <= 1 and torch.allclose(table.square().sum(1), torch.tensor(16.0))


@both_architectures
def test_both_arms_start_from_the_same_encoder_and_the_target_from_its_copy(architecture):
    hybrid, mlm = build(architecture=architecture), build("mlm", architecture=architecture)
    for a, b, c in zip(
        hybrid.encoder.parameters(), mlm.encoder.parameters(), hybrid.target.parameters(),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(a, b) and torch.equal(a, c) and a is not c


def test_token_scale_is_sqrt_dim_on_request():
    plain, scaled = build(), build(token_scale="sqrt_dim")
    assert plain.encoder.scale == 1 and scaled.encoder.scale == math.sqrt(32)
    ids = torch.tensor([[7, 8]])
    assert not torch.allclose(plain.encoder.encode(ids), scaled.encoder.encode(ids))


def test_loss_is_the_papers_formula(batch):
    model = build()
    with torch.no_grad():
        model.balance.w.fill_(0.4)
    out = model(**batch)
    lam = 1 / (1 + math.exp(-0.4))
    assert out.lam.item() == pytest.approx(lam)
    expected = lam * out.jepa_loss + (1 - lam) * out.mlm_loss
    assert out.loss.item() == pytest.approx(expected.item())


@both_architectures
def test_losses_against_formulas_written_out(architecture, batch):
    """Both losses recomputed densely, sample by sample, from the model's parts."""
    model = build(architecture=architecture).eval()
    out = model(**batch)
    hidden = model.encoder.encode(batch["masked_ids"])
    logits = model.logits(hidden)  # (B, L, V), dense
    dense = F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)
    assert out.mlm_loss.item() == pytest.approx(dense.item(), rel=1e-5)
    cosines = []
    for i in range(4):
        context = batch["context"][i : i + 1]
        z = model.encoder.encode(batch["masked_ids"][i : i + 1], keep=context)
        h = model.target.encode(batch["input_ids"][i : i + 1])[0]
        h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
        for block in batch["targets"][i]:
            predicted = model.predictor(z, context, block[None, None])[0, 0]
            dots = (predicted * h[block]).sum(-1)
            cosines.append(dots / predicted.norm(dim=-1) / h[block].norm(dim=-1))
    assert out.jepa_loss.item() == pytest.approx(1 - torch.cat(cosines).mean().item(), rel=1e-4)


@both_architectures
def test_gradients_flow_where_they_should(architecture, batch):
    model = build(architecture=architecture)
    out = model(**batch)
    out.loss.backward()
    assert all(p.grad is None for p in model.target.parameters())
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    lam, jepa, mlm = out.lam.item(), out.jepa_loss.item(), out.mlm_loss.item()
    assert model.balance.w.grad.item() == pytest.approx(balance_gradient(lam, jepa, mlm), rel=1e-5)


@both_architectures
@pytest.mark.parametrize("loss", ["jepa_loss", "mlm_loss"])
def test_each_loss_alone_reaches_the_encoder(architecture, batch, loss):
    model = build(architecture=architecture)
    getattr(model(**batch), loss).backward()
    assert all(p.grad.abs().sum() > 0 for p in model.encoder.blocks.parameters())
    reaches_regressor = model.regressor.w1.weight.grad is not None
    reaches_predictor = model.predictor.mask_token.grad is not None
    assert (reaches_regressor, reaches_predictor) == (loss == "mlm_loss", loss == "jepa_loss")


@both_architectures
def test_targets_come_from_clean_tokens_and_context_from_corrupted_ones(architecture, batch):
    model = build(architecture=architecture).eval()
    other = torch.randint(5, 100, (4, 48), generator=torch.Generator().manual_seed(9))
    clean = model.target_vectors(batch["input_ids"], batch["targets"])
    assert not torch.allclose(clean, model.target_vectors(other, batch["targets"]))
    hidden_target = batch["masked_ids"].clone()
    hidden_target[0, batch["targets"][0].flatten()] = 50  # what the context must not see
    before = model.encoder.encode(batch["masked_ids"], keep=batch["context"])
    after = model.encoder.encode(hidden_target, keep=batch["context"])
    assert torch.equal(before, after)


@both_architectures
def test_predicted_blocks_do_not_see_each_other(architecture, batch):
    model = build(architecture=architecture).eval()
    z = model.encoder.encode(batch["masked_ids"], keep=batch["context"])
    both = model.predictor(z, batch["context"], batch["targets"])
    alone = model.predictor(z, batch["context"], batch["targets"][:, :1])
    assert torch.allclose(both[:, :1], alone, atol=1e-6)


@both_architectures
def test_ema_moves_the_target_by_one_minus_m(architecture):
    model = build(architecture=architecture)
    before = [p.clone() for p in model.target.parameters()]
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(1.0)
    model.update_target(0.9)
    for old, new, online in zip(
        before, model.target.parameters(), model.encoder.parameters(), strict=True
    ):
        assert torch.allclose(new, 0.9 * old + 0.1 * online, atol=1e-6)
    model.update_target(1.0)
    assert torch.allclose(next(model.target.parameters()), 0.9 * before[0] + 0.1 * (before[0] + 1))


@both_architectures
def test_save_load_round_trip_through_automodel(architecture, tmp_path, batch):
    model = build(architecture=architecture).eval()
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").is_file()
    whole = PredictReconstruct.from_pretrained(tmp_path)
    for (name, a), b in zip(model.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    encoder = AutoModel.from_pretrained(tmp_path)
    assert isinstance(encoder, predrecon.Encoder)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), PredictReconstructConfig)
    hidden = encoder(batch["input_ids"]).last_hidden_state
    assert hidden.shape == (4, 48, 32)
    assert torch.equal(hidden, model.encoder(batch["input_ids"]).last_hidden_state)
    assert json.loads((tmp_path / "config.json").read_text())["token_scale"] == "none"


@both_architectures
def test_padding_changes_nothing_and_is_zero_in_the_output(architecture):
    encoder = build("mlm", architecture=architecture).encoder.eval()
    ids = torch.randint(5, 100, (2, 20), generator=torch.Generator().manual_seed(0))
    padded = F.pad(ids, (0, 15), value=0)
    alone = encoder(ids).last_hidden_state
    together = encoder(padded).last_hidden_state
    assert torch.allclose(alone, together[:, :20], atol=1e-5)
    assert (together[:, 20:] == 0).all()
    explicit = encoder(padded, attention_mask=(padded != 0).long()).last_hidden_state
    assert torch.equal(explicit, together)


def test_objectives_on_known_values():
    x = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))
    assert jepa_loss(x, 5 * x).item() == pytest.approx(0, abs=1e-6)
    assert jepa_loss(x, -x).item() == pytest.approx(2)
    assert mlm_loss(torch.zeros(5, 10), torch.arange(5)).item() == pytest.approx(math.log(10))
    assert mlm_loss(torch.zeros(0, 10), torch.zeros(0, dtype=torch.long)).item() == 0
    with pytest.raises(ValueError, match="differ"):
        jepa_loss(x, x[:1])


@pytest.mark.parametrize(
    ("change", "named"),
    [(dict(arm="both"), "arm='both'"), (dict(token_scale="big"), "token_scale"),
     (dict(architecture="old"), "architecture='old'"),
     (dict(architecture="modern", token_scale="sqrt_dim"), "architecture='published'"),
     (dict(architecture="modern", hidden_size=12, num_attention_heads=4), "12 over 4 heads"),
     (dict(hidden_size=30, num_attention_heads=4), "hidden_size=30 over 4 heads")],
)  # fmt: skip
def test_bad_configurations_are_named(change, named):
    with pytest.raises(ValueError, match=named):
        PredictReconstructConfig(**change)


@both_architectures
def test_texts_longer_than_the_encoder_are_refused(architecture):
    with pytest.raises(ValueError, match="49 tokens"):
        build("mlm", architecture=architecture).encoder(torch.full((1, 49), 7))


def modernbert(model):
    """transformers' ModernBertForMaskedLM with the model's encoder and token regressor."""
    config, encoder, regressor = model.config, model.encoder, model.regressor
    theirs = ModernBertConfig(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size,
        intermediate_size=config.mlp_ratio * config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        max_position_embeddings=config.max_position_embeddings, norm_eps=config.layer_norm_eps,
        pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3,
        layer_types=["full_attention"] * config.num_hidden_layers,
        rope_parameters={"full_attention": dict(rope_type="default", rope_theta=config.rope_theta)},
    )  # fmt: skip
    weights = {
        "model.embeddings.tok_embeddings.weight": encoder.tokens.weight,
        "model.embeddings.norm.weight": encoder.embedding_norm.weight,
        "model.final_norm.weight": encoder.norm.weight,
        "head.dense.weight": regressor.w1.weight,
        "head.norm.weight": regressor.norm.weight,
        "decoder.weight": encoder.tokens.weight,
        "decoder.bias": regressor.bias,
    }
    for number, block in enumerate(encoder.blocks):
        named = {"attn.Wqkv": block.qkv, "attn.Wo": block.proj, "mlp_norm": block.norm2,
                 "mlp.Wi": block.up, "mlp.Wo": block.down}  # fmt: skip
        if number:
            named["attn_norm"] = block.norm1
        for name, module in named.items():
            weights[f"model.layers.{number}.{name}.weight"] = module.weight
    reference = ModernBertForMaskedLM(theirs).eval()
    reference.load_state_dict(weights)  # every weight of theirs, and no other
    return reference


@torch.no_grad()
def test_modern_is_modernbert():
    """Hidden states and logits of the same weights: unpadded, padded, and at chosen positions."""
    model = shaken(architecture="modern", num_hidden_layers=3, arm="mlm")
    reference = modernbert(model)
    ids = torch.randint(5, 100, (3, 30), generator=torch.Generator().manual_seed(0))
    for length in (30, 11):  # of the first text; the others are whole
        real = torch.ones_like(ids)
        real[0, length:] = 0
        theirs = reference.model(ids * real, attention_mask=real).last_hidden_state
        ours = model.encoder(ids * real, attention_mask=real).last_hidden_state
        assert torch.allclose(ours, theirs * real[..., None], atol=1e-5)
        logits = reference(ids * real, attention_mask=real).logits
        assert torch.allclose(model.logits(ours)[1:], logits[1:], atol=1e-5)
    keep = torch.tensor([[3, 4, 5, 20, 21], [0, 1, 2, 3, 4], [9, 10, 11, 12, 29]])
    embedded = model.encoder.tokens(ids.gather(1, keep))
    theirs = reference.model(inputs_embeds=embedded, position_ids=keep).last_hidden_state
    assert torch.allclose(model.encoder.encode(ids, keep=keep), theirs, atol=1e-5)


@torch.no_grad()
def test_the_modern_predictor_turns_by_the_positions_that_it_is_given(batch):
    """Rotation depends on distances: shifting all positions by 7 changes nothing, some does."""
    model = shaken(architecture="modern")
    z = torch.randn(4, batch["context"].shape[1], 32, generator=torch.Generator().manual_seed(2))
    context, targets = batch["context"] % 20, batch["targets"] % 20
    ours = model.predictor(z, context, targets)
    assert torch.allclose(model.predictor(z, context + 7, targets + 7), ours, atol=1e-5)
    assert not torch.allclose(model.predictor(z, context, targets + 7), ours, atol=1e-3)
    assert not torch.allclose(model.predictor(z, context + 7, targets), ours, atol=1e-3)


def test_the_modern_decoder_is_the_embedding(tmp_path):
    model = build("mlm", architecture="modern")
    assert not [
        n for n, p in model.named_parameters() if p.shape == (100, 32) and "tokens" not in n
    ]
    model.save_pretrained(tmp_path)
    z = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    again = PredictReconstruct.from_pretrained(tmp_path)
    assert torch.equal(again.logits(z), model.logits(z))
