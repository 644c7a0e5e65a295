"""What a run is made of: one frozen dataclass and the presets.

`paper` holds every hyper-parameter of the paper's Table 1; what the table leaves open says so.
`modern` has its size, text and number of tokens with an architecture and optimiser that leave the
plateau of word frequencies early. `demo` and `demo-published` are the same pair for two CPU cores.
"""

import dataclasses
import os
from dataclasses import dataclass

ARMS = ("hybrid", "mlm")
ARCHITECTURES = ("published", "modern")
TOKEN_SCALES = ("none", "sqrt_dim")
OPTIMIZERS = ("adamw", "muon")
PRESETS = ("smoke", "demo", "demo-published", "paper", "modern")
_TWINS = {"demo": "demo-published", "modern": "paper"}


def _expect(what: str, value: str, valid: tuple[str, ...]):
    if value not in valid:
        raise ValueError(f"{what}={value!r}: expected one of {', '.join(valid)}.")


@dataclass(frozen=True)
class Recipe:
    """One pre-training run, complete except for its seed.

    A learned lambda starts at 0.5, as in the paper. Every attribute but `preset` is an option of
    the command line, with the text below as its help.

    Attributes:
        preset: the preset that the values come from.
        arm: objective: hybrid (JEPA and MLM) or mlm.
        corpus: docstrings (the embedded text), wikitext-103, wikipedia, or a path.
        tokenizer: a hub name or a folder; auto: the corpus's own.
        architecture: published (the paper's) or modern (ModernBERT's).
        hidden_size: encoder width D.
        num_layers: encoder layers.
        num_heads: encoder heads.
        mlp_ratio: width of the MLPs over D.
        predictor_size: predictor width.
        predictor_layers: predictor layers.
        predictor_heads: predictor heads.
        token_scale: none (as published) or sqrt_dim (token embeddings times the root of D).
        length: tokens in a block, [CLS] and [SEP] included.
        context_scale: smallest and largest context block, as shares of a block.
        target_scale: smallest and largest target block, as shares of a block.
        num_targets: target blocks of a sample.
        min_context: context tokens that stay after the targets are cut out.
        leak: leave the targets in the context, as the public code's masks mostly do.
        mlm_probability: chance of a token to be masked.
        batch_size: blocks in a step, over all processes.
        epochs: passes over the corpus, where max_steps is not set.
        max_steps: optimiser steps; the schedules span exactly these.
        optimizer: adamw, or muon (Muon for the blocks' matrices, AdamW with lr for the rest).
        lr: peak learning rate; linear warm-up, then cosine to 0.
        muon_lr: peak learning rate of the blocks' matrices, with muon.
        lam: lambda, fixed between 0 and 1; None (auto): learned. Hybrid arm only.
        lam_lr: peak learning rate of lambda's w; None (auto): lr. Hybrid arm only.
        warmup_steps: steps of linear warm-up.
        weight_decay: of matrices.
        betas: of AdamW.
        ema: momentum of the target encoder at the first and last step, linear between them.
        precision: fp32, bf16 (autocast), or auto: the fastest on this machine.
        compile: whether to torch.compile the blocks; None (auto): on a GPU only.
        log_every: steps between rows of history.csv.
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: minutes between checkpoints, in addition to checkpoint_every.
        keep_last: checkpoints kept.
        snapshots: encoders kept, evenly spaced over training, with their held-out losses.
        validation_blocks: blocks of held-out text for the losses at the end.
    """

    preset: str
    arm: str = "hybrid"
    corpus: str = "docstrings"
    tokenizer: str = "auto"
    # model
    architecture: str = "published"
    hidden_size: int = 512
    num_layers: int = 6
    num_heads: int = 8
    mlp_ratio: int = 4
    predictor_size: int = 512
    predictor_layers: int = 6
    predictor_heads: int = 8
    token_scale: str = "none"
    # masks
    length: int = 512
    context_scale: tuple[float, float] = (0.65, 0.85)
    target_scale: tuple[float, float] = (0.10, 0.25)
    num_targets: int = 2
    min_context: int = 32
    leak: bool = False
    mlm_probability: float = 0.15
    # optimisation
    batch_size: int = 64
    epochs: float = 3
    max_steps: int | None = None
    optimizer: str = "adamw"
    lr: float = 5e-5
    muon_lr: float = 0.02
    lam: float | None = None
    lam_lr: float | None = None
    warmup_steps: int = 10
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    ema: tuple[float, float] = (0.996, 1.0)
    precision: str = "auto"
    compile: bool | None = None
    # bookkeeping
    log_every: int = 10
    checkpoint_every: int = 500
    checkpoint_minutes: float | None = None
    keep_last: int = 2
    snapshots: int = 0
    validation_blocks: int = 256

    def __post_init__(self):
        _expect("arm", self.arm, ARMS)
        _expect("architecture", self.architecture, ARCHITECTURES)
        _expect("token_scale", self.token_scale, TOKEN_SCALES)
        _expect("optimizer", self.optimizer, OPTIMIZERS)
        _expect("precision", self.precision, ("fp32", "bf16", "auto"))
        for names, valid, expected in (
            (
                "length batch_size log_every checkpoint_every keep_last",
                lambda v: v >= 1,
                "at least 1",
            ),
            ("snapshots lr muon_lr warmup_steps", lambda v: v >= 0, "0 or more"),
            ("epochs", lambda v: v > 0, "more than 0"),
            ("lam", lambda v: v is None or 0 < v < 1, "between 0 and 1, or None to learn it"),
            ("max_steps", lambda v: v is None or v >= 1, "at least 1, or None for epochs"),
            ("checkpoint_minutes", lambda v: v is None or v > 0, "more than 0, or None"),
        ):
            for name in names.split():
                if not valid(getattr(self, name)):
                    raise ValueError(f"{name}={getattr(self, name)}: expected {expected}.")
        if self.lam_lr is not None and (self.lam_lr < 0 or self.lam is not None):
            raise ValueError(
                f"lam_lr={self.lam_lr}, lam={self.lam}: a rate of 0 or more for a learned lambda."
            )
        if self.arm == "mlm":  # it has no lambda and no context: one run is enough
            for name, unused in (("lam", None), ("lam_lr", None), ("leak", False)):
                object.__setattr__(self, name, unused)

    def steps(self, blocks: int) -> int:
        """Optimiser steps on a corpus of `blocks` blocks."""
        return self.max_steps or max(1, int(self.epochs * blocks / self.batch_size))


# minutes on two CPU cores
_SMALL = dict(hidden_size=128, num_heads=4, length=64, batch_size=32, snapshots=8)
_SMALL |= dict(predictor_size=64, predictor_layers=2, predictor_heads=2, max_steps=800)
# what the search of LOG.md (26 November 2026) ended with
_MODERN = dict(architecture="modern", optimizer="muon", muon_lr=0.02, betas=(0.9, 0.98))
_MODERN |= dict(mlm_probability=0.3, weight_decay=0.2)
_PRESETS = {
    # seconds: for tests
    "smoke": Recipe(
        "smoke",
        hidden_size=32,
        num_layers=2,
        num_heads=2,
        predictor_size=32,
        predictor_layers=1,
        predictor_heads=2,
        length=48,
        min_context=16,
        batch_size=8,
        max_steps=30,
        lr=1e-3,
        log_every=1,
        checkpoint_every=10,
        validation_blocks=32,
    ),
    # lambda's rate is the published one: with lr it would leave the MLM loss a tenth of its weight
    "demo": Recipe(
        "demo",
        **_SMALL,
        **_MODERN,
        num_layers=2,
        mlp_ratio=2,
        lr=3e-3,
        lam_lr=1e-3,
        warmup_steps=50,
    ),
    "demo-published": Recipe("demo-published", **_SMALL, num_layers=4, lr=1e-3),
    # Table 1. Not in the table and taken from the public configuration: 6 layers, 8 heads, MLP
    # ratio 4, predictor heads. AdamW's betas are given nowhere: PyTorch's defaults.
    "paper": Recipe(
        "paper", corpus="wikitext-103", precision="bf16", checkpoint_every=1000, snapshots=4
    ),
    # the demo's rate by the root of the width; lambda's rate is the paper's; not tuned at this size
    "modern": Recipe(
        "modern",
        **_MODERN,
        corpus="wikitext-103",
        lr=1.5e-3,
        lam_lr=5e-5,
        warmup_steps=200,
        precision="bf16",
        checkpoint_every=1000,
        snapshots=8,
    ),
}


def get(preset: str = "auto", **overrides) -> Recipe:
    """A preset with some fields replaced.

    Args:
        preset: one of `PRESETS`, or `"auto"`: the environment variable `PREDRECON_PRESET` if set,
            else `paper` on a machine with CUDA and `demo` elsewhere.
        overrides: fields of `Recipe`; None leaves the preset's value, as does the corpus `"auto"`.

    Raises:
        ValueError: an unknown preset or field (the valid ones are listed) or a bad value.
    """
    name = os.environ.get("PREDRECON_PRESET") or "auto" if preset == "auto" else preset
    if name == "auto":
        import torch

        name = "paper" if torch.cuda.is_available() else "demo"
    _expect("preset", name, PRESETS)
    fields = {f.name for f in dataclasses.fields(Recipe)} - {"preset"}
    if unknown := set(overrides) - fields:
        raise ValueError(
            f"No such field of a recipe: {', '.join(sorted(unknown))}. "
            f"Fields: {', '.join(sorted(fields))}."
        )
    chosen = {k: v for k, v in overrides.items() if v is not None and (k, v) != ("corpus", "auto")}
    if "lam" in chosen:  # a fixed lambda has no rate
        chosen = {"lam_lr": None} | chosen
    return dataclasses.replace(_PRESETS[name], **chosen)


def published_twin(recipe: Recipe) -> Recipe | None:
    """The recipe as published, at the same size: same text, masks and bookkeeping.

    What `recipe` sets unlike its preset, the twin has too. None for a recipe that is as published.
    """
    if recipe.preset not in _TWINS:
        return None
    preset, twin = _PRESETS[recipe.preset], _PRESETS[_TWINS[recipe.preset]]
    chosen = {
        field.name: getattr(recipe, field.name)
        for field in dataclasses.fields(Recipe)
        if getattr(recipe, field.name) != getattr(preset, field.name)
    }
    return dataclasses.replace(twin, **chosen)


def arms(value: str | list[str]) -> list[str]:
    """`"hybrid"`, `"hybrid,mlm"` or `["hybrid", "mlm"]` as a list; unknown arms are an error."""
    names = [a.strip() for a in value.split(",")] if isinstance(value, str) else list(value)
    for name in names:
        _expect("arm", name, ARMS)
    if not names:
        raise ValueError(f"arms is empty: expected some of {', '.join(ARMS)}.")
    return names
