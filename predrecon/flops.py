"""Floating-point operations of a pre-training step, counted from shapes.

A multiplication and an addition are two operations. Counted are matrix products, which is nearly
everything: projections, attention scores and sums, MLPs, vocabulary logits. Norms, GELU, softmax,
the optimiser and the moving average are left out, as is customary for MFU (Chowdhery et al. 2022,
Appendix B). A backward pass costs twice its forward; recomputation is not counted.
"""

from predrecon.config import PredictReconstructConfig


def step_flops(
    config: PredictReconstructConfig,
    *,
    batch: int,
    length: int,
    masked: float,
    context: float = 0,
    targets: tuple[int, float] = (0, 0),
) -> float:
    """Operations of one optimiser step.

    Args:
        config: the model's.
        batch: B, samples. length: L, tokens in a sample.
        masked: M, masked tokens of the whole batch, whose logits are computed.
        context: C, context tokens of a sample; targets: K, T, target blocks and their tokens. Both
            are needed by the hybrid arm only; averages over steps may be given.

    Returns:
        Forward and backward of everything that is trained, plus the target encoder's forward.
    """
    dim = config.hidden_size
    trained = batch * _blocks(config, length) + masked * 2 * dim * (dim + config.vocab_size)
    if config.arm == "mlm":
        return 3 * trained
    blocks, asked = targets
    trained += batch * _blocks(config, context)
    trained += batch * _predictor(config, context, blocks, asked)
    return 3 * trained + batch * _blocks(config, length)


def batch_flops(config: PredictReconstructConfig, batch: dict) -> float:
    """`step_flops` of a batch from `draw_batch`."""
    rows, length = batch["input_ids"].shape
    masked = int((batch["labels"] >= 0).sum())
    if config.arm == "mlm":
        return step_flops(config, batch=rows, length=length, masked=masked)
    blocks, asked = batch["targets"].shape[1:]
    context = batch["context"].shape[1]
    return step_flops(
        config, batch=rows, length=length, masked=masked, context=context, targets=(blocks, asked)
    )


def _blocks(config: PredictReconstructConfig, tokens: float) -> float:
    """Forward of the encoder's blocks on one sample."""
    return config.num_hidden_layers * _block(config.hidden_size, config.mlp_ratio, tokens)


def _predictor(config: PredictReconstructConfig, context: float, blocks: int, asked: float):
    """Forward of the predictor on one sample: every target block runs with the context."""
    dim, tokens = config.predictor_size, context + asked
    through = 2 * config.hidden_size * dim * (context + blocks * asked)  # linear in, linear out
    return through + blocks * config.predictor_layers * _block(dim, config.mlp_ratio, tokens)


def _block(dim: int, mlp_ratio: int, tokens: float) -> float:
    """Forward of one transformer block on one sequence."""
    weights = (4 + 2 * mlp_ratio) * dim * dim  # q, k, v, output; up, down
    return 2 * tokens * weights + 4 * tokens * tokens * dim
