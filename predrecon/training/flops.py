"""Floating-point operations of a pre-training step, counted from shapes.

A multiplication and an addition are two operations. Counted are matrix products, which is nearly
everything: projections, attention scores and sums, MLPs, vocabulary logits. Norms, GELU, softmax,
the optimiser and the moving average are left out, as is customary for MFU (Chowdhery et al. 2022,
Appendix B). A backward pass costs twice its forward; recomputation is not counted.
"""

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
        masked: M, masked tokens of the whole batch, whose logits are computed; a tensor if it is
            not known on the host, and so is the result.
        context: C, context tokens of a sample; targets: K, T, target blocks and their tokens. Both
            are needed by the hybrid arm only; averages over steps may be given.

    Returns:
        Forward and backward of everything that is trained, plus the target encoder's forward.
    """
    dim = config.hidden_size
    trained = _encoder(config, batch, length, masked)
    trained += masked * 2 * dim * (dim + config.vocab_size)
    if config.arm == "mlm":
        return 3 * trained
    blocks, asked = targets
    trained += _encoder(config, batch, context, batch * context)
    trained += _predictor(config, batch, context, blocks, asked)
    return 3 * trained + _encoder(config, batch, length, batch * blocks * asked)


def batch_flops(config: PredictReconstructConfig, batch: dict) -> torch.Tensor:
    """`step_flops` of a batch from `draw_batch`: a float64 scalar, left on the batch's device."""
    rows, length = batch["input_ids"].shape
    masked = (batch["labels"] >= 0).sum().double()
    if config.arm == "mlm":
        return step_flops(config, batch=rows, length=length, masked=masked)
    blocks, asked = batch["targets"].shape[1:]
    context = batch["context"].shape[1]
    return step_flops(
        config, batch=rows, length=length, masked=masked, context=context, targets=(blocks, asked)
    )


def _encoder(config: PredictReconstructConfig, batch: int, tokens: float, asked: float):
    """Forward of the encoder's blocks on `batch` sequences, `asked` vectors wanted of them all."""
    shape = config.hidden_size, config.mlp_ratio
    return _stack(config.num_hidden_layers, *shape, batch, tokens, asked)


def _predictor(config, batch: int, context: float, blocks: int, asked: float) -> float:
    """Forward of the predictor: every target block runs with the context of its sample."""
    dim, wanted = config.predictor_size, batch * blocks * asked
    through = 2 * config.hidden_size * dim * (batch * context + wanted)  # linear in, linear out
    shape = config.predictor_layers, dim, config.mlp_ratio
    return through + _stack(*shape, batch * blocks, context + asked, wanted)


def _stack(layers: int, dim: int, mlp_ratio: int, rows: float, tokens: float, asked: float):
    """Forward of transformer blocks, the last of which ends in `asked` positions only."""
    mixing = rows * (2 * tokens * 3 * dim**2 + 4 * tokens**2 * dim)  # q, k, v; attention
    per_token = 2 * (1 + 2 * mlp_ratio) * dim**2  # output, up, down
    return layers * mixing + ((layers - 1) * rows * tokens + asked) * per_token
