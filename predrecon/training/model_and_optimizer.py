"""The model and the optimiser of a recipe."""

import torch

from predrecon.data.corpus import Corpus
from predrecon.model import PredictReconstruct, PredictReconstructConfig
from predrecon.recipes import Recipe


def build_model(recipe: Recipe, corpus: Corpus, seed: int) -> PredictReconstruct:
    """A freshly initialised model, on the CPU."""
    return PredictReconstruct.build(model_config(recipe, corpus), seed)


def build_optimizer(model: PredictReconstruct, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW over `parameter_groups`, in one fused kernel (on a CPU seven times faster, too)."""
    groups = parameter_groups(model, recipe)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)


def model_config(recipe: Recipe, corpus: Corpus) -> PredictReconstructConfig:
    """The architecture of a recipe, for a corpus's vocabulary."""
    return PredictReconstructConfig(
        vocab_size=len(corpus.tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        mlp_ratio=recipe.mlp_ratio,
        max_position_embeddings=recipe.length,
        predictor_size=recipe.predictor_size,
        predictor_layers=recipe.predictor_layers,
        predictor_heads=recipe.predictor_heads,
        arm=recipe.arm,
        token_scale=recipe.token_scale,
        lam=recipe.lam,
        pad_token_id=corpus.tokenizer.pad_token_id,
    )


def parameter_groups(model: PredictReconstruct, recipe: Recipe) -> list[dict]:
    """Weight decay on matrices only: not on biases, norms, the mask token or the balance's w.

    Each group has its `peak` learning rate; `objectives.learning_rate` scales it step by step.
    """
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    balance = [trained.pop("balance.w")] if "balance.w" in trained else []
    matrices = [p for p in trained.values() if p.ndim >= 2]
    vectors = [p for p in trained.values() if p.ndim < 2]
    lam_lr = recipe.lr if recipe.lam_lr is None else recipe.lam_lr
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay, "peak": recipe.lr},
        {"params": vectors, "weight_decay": 0.0, "peak": recipe.lr},
    ]
    return groups + [{"params": w, "weight_decay": 0.0, "peak": lam_lr} for w in [balance] if w]
