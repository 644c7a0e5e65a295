"""The modern architecture and transformers' ModernBERT: the same weights under other names.

`to_modernbert` makes a model that opens without this package; `from_modernbert` reads any
ModernBERT. Both directions use `NAMES`. Hidden states and logits agree up to rounding.
"""

import hashlib
import json

import torch
from transformers import ModernBertConfig, ModernBertForMaskedLM

from predrecon.model import PredictReconstruct, PredictReconstructConfig

NAMES = {
    "encoder.tokens": "model.embeddings.tok_embeddings",
    "encoder.embedding_norm": "model.embeddings.norm",
    "encoder.norm": "model.final_norm",
    "regressor.w1": "head.dense",
    "regressor.norm": "head.norm",
}
_OF_A_BLOCK = {
    "norm1": "attn_norm", "qkv": "attn.Wqkv", "proj": "attn.Wo", "norm2": "mlp_norm",
    "up": "mlp.Wi", "down": "mlp.Wo",
}  # fmt: skip


def weight_names(layers: int) -> dict[str, str]:
    """`{name in PredictReconstruct: name in ModernBertForMaskedLM}` of every trained tensor.

    The decoder's matrix is not among them: both tie it to the token embeddings. The first layer has
    no attention norm.
    """
    names = {f"{ours}.weight": f"{theirs}.weight" for ours, theirs in NAMES.items()}
    names["regressor.bias"] = "decoder.bias"
    for i in range(layers):
        for ours, theirs in _OF_A_BLOCK.items():
            if (i, ours) != (0, "norm1"):
                names[f"encoder.blocks.{i}.{ours}.weight"] = f"model.layers.{i}.{theirs}.weight"
    return names


def to_modernbert(model: PredictReconstruct, tokenizer) -> ModernBertForMaskedLM:
    """A ModernBERT on the CPU with the model's encoder and token regressor, without a predictor.

    Args:
        model: of the modern architecture (ValueError if not).
        tokenizer: names the ids of [CLS], [SEP], [PAD] and [MASK] in the configuration.
    """
    config = model.config
    if config.architecture != "modern":
        raise ValueError(
            f"architecture={config.architecture!r}: only the modern one is a ModernBERT."
        )
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    layers = config.num_hidden_layers
    rope = {"full_attention": config.rope_theta, "sliding_attention": config.local_rope_theta}
    theirs = ModernBertForMaskedLM(
        ModernBertConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=round(config.mlp_ratio * config.hidden_size),
            num_hidden_layers=layers,
            num_attention_heads=config.num_attention_heads,
            max_position_embeddings=config.max_position_embeddings,
            initializer_range=config.initializer_range,
            norm_eps=config.layer_norm_eps,
            pad_token_id=config.pad_token_id,
            bos_token_id=cls, cls_token_id=cls, eos_token_id=sep, sep_token_id=sep,
            mask_token_id=tokenizer.mask_token_id,
            layer_types=config.layer_types or ["full_attention"] * layers,
            local_attention=config.local_attention,
            rope_parameters={
                kind: {"rope_type": "default", "rope_theta": theta} for kind, theta in rope.items()
            },
        )
    ).eval()  # fmt: skip
    weights, tensors = model.state_dict(), theirs.state_dict()
    with torch.no_grad():
        for ours, name in weight_names(layers).items():
            tensors[name].copy_(weights[ours])
    return theirs


def shape_of(config) -> dict:
    """Arguments of the `PredictReconstructConfig` that computes the same as this ModernBERT.

    Dropout is ignored: none is used here.

    Raises:
        ValueError: another type of model, or a ModernBERT that the modern architecture cannot
            compute; the message says why.
    """
    if config.model_type != "modernbert":
        raise ValueError(f"it is of type {config.model_type!r}, not a ModernBERT.")
    expected = {"hidden_activation": "gelu", "classifier_activation": "gelu"}
    biases = ("norm_bias", "attention_bias", "mlp_bias", "classifier_bias")
    expected |= dict.fromkeys(biases, False) | {"tie_word_embeddings": True}
    rope = {kind: config.rope_parameters[kind] for kind in set(config.layer_types)}
    other = [f"{k}={getattr(config, k)!r}" for k, v in expected.items() if getattr(config, k) != v]
    other += [f"{k}: rope_type={r['rope_type']!r}" for k, r in rope.items()
              if r["rope_type"] != "default"]  # fmt: skip
    if other:
        raise ValueError(f"{', '.join(other)}: the modern architecture does not compute that.")
    ratio = config.intermediate_size / config.hidden_size
    shape = dict(
        architecture="modern",
        vocab_size=config.vocab_size,
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        mlp_ratio=int(ratio) if ratio == int(ratio) else ratio,
        max_position_embeddings=config.max_position_embeddings,
        layer_norm_eps=config.norm_eps,
        pad_token_id=config.pad_token_id,
    )
    thetas = {kind: float(parameters["rope_theta"]) for kind, parameters in rope.items()}
    if "sliding_attention" in thetas:
        shape |= dict(
            layer_types=list(config.layer_types),
            local_attention=config.local_attention,
            local_rope_theta=thetas["sliding_attention"],
        )
    if "full_attention" in thetas:
        shape["rope_theta"] = thetas["full_attention"]
    return shape


def from_modernbert(
    weights: dict[str, torch.Tensor], shape: dict, *, seed: int = 0
) -> PredictReconstruct:
    """The MLM-only model with the weights of a ModernBERT; what they lack is drawn from `seed`.

    Args:
        weights: `{name in ModernBertForMaskedLM: tensor}`; without `head.*` the token regressor is
            fresh, without `decoder.bias` it is zero.
        shape: from `shape_of`.
    """
    model = PredictReconstruct.build(PredictReconstructConfig(**shape, arm="mlm"), seed)
    tensors = model.state_dict()
    with torch.no_grad():
        for ours, name in weight_names(shape["num_hidden_layers"]).items():
            if name in weights:
                tensors[ours].copy_(weights[name])
    return model.eval()


def digest(weights: dict[str, torch.Tensor], shape: dict) -> str:
    """SHA-256 of what a ModernBERT computes: its shape and the values of its weights.

    The file format, the order of tensors and a tied decoder's second name do not matter.
    """
    total = hashlib.sha256(json.dumps(shape, sort_keys=True).encode())
    for name in sorted(set(weight_names(shape["num_hidden_layers"]).values()) & weights.keys()):
        total.update(name.encode())
        content = weights[name].detach().float().cpu().contiguous()
        total.update(content.flatten().view(torch.uint8).numpy().data)
    return total.hexdigest()
