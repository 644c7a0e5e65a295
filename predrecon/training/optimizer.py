"""The model and the optimiser of a recipe."""

import copy

import torch

from predrecon.data.corpus import Corpus
from predrecon.model import Block, PredictReconstruct, PredictReconstructConfig
from predrecon.recipes import Recipe


def build_model(
    recipe: Recipe, corpus: Corpus, seed: int, initial: PredictReconstruct | None = None
) -> PredictReconstruct:
    """A freshly initialised model, on the CPU.

    With `initial`, from `initial.load`, encoder, token regressor and configuration are that
    model's, and the target encoder starts as a copy; predictor and balance are fresh.

    Raises:
        ValueError: the recipe begins from weights, and there is no `initial`.
    """
    if initial is None:
        if recipe.init:
            raise ValueError(f"init={recipe.init!r}: pass its weights as `initial`.")
        return PredictReconstruct.build(model_config(recipe, corpus), seed)
    config = copy.deepcopy(initial.config)
    for name, value in _of_pretraining(recipe).items():
        setattr(config, name, value)
    model = PredictReconstruct.build(config, seed)
    model.regressor.load_state_dict(initial.regressor.state_dict())
    model.encoder.load_state_dict(initial.encoder.state_dict())
    model.reset_target()
    return model


def build_optimizer(model: PredictReconstruct, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW over all parameters, or Muon for the blocks' matrices and AdamW for the rest.

    AdamW is one fused kernel (on a CPU seven times faster, too).

    Raises:
        ValueError: Muon, but the model's blocks have no matrices.
    """
    groups = parameter_groups(model, recipe)
    if recipe.optimizer == "muon":
        return MuonAndAdamW(groups, betas=recipe.betas)
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, fused=True)


class MuonAndAdamW(torch.optim.Optimizer):
    """Two optimisers behind one interface, which schedules and checkpoints use.

    Args:
        groups: as `parameter_groups` makes them; those with `"muon": True` hold matrices.
        betas: of AdamW. Muon (Jordan et al. 2024) keeps torch's momentum of 0.95 and five
            Newton-Schulz iterations.
    """

    def __init__(self, groups: list[dict], *, betas: tuple[float, float]):
        of_muon = [group for group in groups if group.get("muon")]
        if not of_muon:
            raise ValueError(
                "optimizer='muon' is for the matrices of the blocks, and this model has none: use "
                "optimizer='adamw'."
            )
        super().__init__(groups, {"lr": 0.0})
        rest = [group for group in groups if not group.get("muon")]
        self.parts = torch.optim.Muon(of_muon), torch.optim.AdamW(rest, betas=betas, fused=True)
        self._share()

    def _share(self):
        """Let both parts work on this optimiser's groups and state."""
        muon, adamw = self.parts
        muon.param_groups = [group for group in self.param_groups if group.get("muon")]
        adamw.param_groups = [group for group in self.param_groups if not group.get("muon")]
        muon.state = adamw.state = self.state

    @torch.no_grad()
    def step(self, closure=None):
        for part in self.parts:
            part.step()

    def load_state_dict(self, state_dict: dict):
        super().load_state_dict(state_dict)
        self._share()


def model_config(recipe: Recipe, corpus: Corpus) -> PredictReconstructConfig:
    """The architecture of a recipe, for a corpus's vocabulary."""
    return PredictReconstructConfig(
        vocab_size=len(corpus.tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        mlp_ratio=recipe.mlp_ratio,
        max_position_embeddings=recipe.length,
        token_scale=recipe.token_scale,
        architecture=recipe.architecture,
        pad_token_id=corpus.tokenizer.pad_token_id,
        **_of_pretraining(recipe),
    )


def _of_pretraining(recipe: Recipe) -> dict:
    """The fields of a configuration that concern pre-training, not the encoder."""
    names = ("predictor_size", "predictor_layers", "predictor_heads", "arm", "lam")
    names += ("latent_loss", "target", "balance")
    return {name: getattr(recipe, name) for name in names}


def parameter_groups(model: PredictReconstruct, recipe: Recipe) -> list[dict]:
    """Weight decay on matrices only: not on biases, norms, the mask token or the balance's w.

    Each group has its `peak` learning rate; `objectives.learning_rate` scales it step by step. With
    Muon the matrices of the blocks are a group of their own, marked `muon`.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    lam_lr = recipe.lr if recipe.lam_lr is None else recipe.lam_lr
    groups = [
        {"params": [], "weight_decay": recipe.weight_decay, "peak": recipe.lr},
        {"params": [], "weight_decay": 0.0, "peak": recipe.lr},
        {"params": [], "weight_decay": 0.0, "peak": lam_lr},
    ]
    if recipe.optimizer == "muon":
        decay = {"weight_decay": recipe.weight_decay, "peak": recipe.muon_lr}
        groups.append({"params": [], "muon": True, **decay})
    in_blocks = {id(p) for m in model.modules() if isinstance(m, Block) for p in m.parameters()}
    for name, parameter in trained.items():
        number = 2 if name == "balance.w" else 0 if parameter.ndim >= 2 else 1
        if recipe.optimizer == "muon" and parameter.ndim == 2 and id(parameter) in in_blocks:
            number = 3
        groups[number]["params"].append(parameter)
    return [group for group in groups if group["params"]]
