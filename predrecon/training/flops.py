"""Floating-point operations of a pre-training step, counted from shapes.

A multiplication and an addition are two operations. Only matrix products are counted, which are
nearly everything: projections, attention scores and sums, MLPs, vocabulary logits. Norms, GELU,
softmax, the optimiser and the moving average are left out, as is customary for MFU (Chowdhery et
al. 2022, Appendix B). A backward pass costs twice its forward; recomputation is not counted.
"""

import functools

import torch

from predrecon.model import PredictReconstructConfig


def step_flops(
    config: PredictReconstructConfig,
    *,
    batch: int,
    length: int,
    masked: float | torch.Tensor,
    context: float = 0,
    targets: tuple[int, float] = (0, 0),
) -> float | torch.Tensor:
    """Operations of one optimiser step.

    Args:
        config: the model's.
        batch: B, samples. length: L, tokens in a sample.
        masked: M, masked tokens of the whole batch, whose logits are computed. If it is a tensor
            (not known on the host), so is the result.
        context: C, context tokens of a sample; targets: K, T, target blocks and their tokens. Only
            the hybrid arm needs both; they may be averages over steps.

    Returns:
        Forward and backward of everything that is trained, plus the target encoder's forward (and
        backward, where the target is live).
    """
    dim, narrow = config.hidden_size, config.predictor_size
    mlp = config.mlp_ratio * (3 if config.architecture == "modern" else 2)  # GeGLU has a gate
    encoder = functools.partial(_blocks, config.num_hidden_layers, dim, mlp, batch)
    trained = encoder(length, masked) + masked * 2 * dim * (dim + config.vocab_size)
    if config.arm == "mlm":
        return 3 * trained
    blocks, tokens = targets
    predicted = batch * blocks * tokens
    trained += encoder(context, batch * context)
    trained += 2 * dim * narrow * (batch * context + predicted)  # into the predictor and out of it
    shape = config.predictor_layers, narrow, mlp
    trained += _blocks(*shape, batch * blocks, context + tokens, predicted)
    target = encoder(length, batch * length if config.target == "top-k" else predicted)
    return 3 * trained + (3 if config.target == "live" else 1) * target


def batch_flops(config: PredictReconstructConfig, batch: dict) -> torch.Tensor:
    """`step_flops` of a batch from `draw_batch`: a float64 scalar, left on the batch's device."""
    rows, length = batch["input_ids"].shape
    sizes = {"batch": rows, "length": length, "masked": (batch["labels"] >= 0).sum().double()}
    if config.arm == "hybrid":
        sizes |= {"context": batch["context"].shape[1], "targets": batch["targets"].shape[1:]}
    return step_flops(config, **sizes)


def _blocks(layers: int, dim: int, mlp: float, rows: float, tokens: float, wanted: float):
    """Forward of transformer blocks; the last one completes only the `wanted` vectors.

    `mlp`: an MLP's matrices, over D x D.
    """
    mixing = rows * (2 * tokens * 3 * dim**2 + 4 * tokens**2 * dim)  # q, k, v; attention
    per_token = 2 * (1 + mlp) * dim**2  # attention's output, MLP
    return layers * mixing + ((layers - 1) * rows * tokens + wanted) * per_token
