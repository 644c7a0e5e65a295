"""Every setting of a run: one frozen dataclass and the presets.

`paper` holds every hyper-parameter of the paper's Table 1; comments mark what the table leaves
open. `modern` has the same size, text and number of tokens, with an architecture and optimiser that
leave the plateau of word frequencies early. `demo` and `demo-published` are the same pair for two
CPU cores.
"""

import contextlib
import dataclasses
import math
import numbers
import os
import re
import types
import typing
from dataclasses import dataclass

ARMS = ("hybrid", "mlm")
ARCHITECTURES = ("published", "modern")
TOKEN_SCALES = ("none", "sqrt_dim")
OBJECTIVE = ("latent_loss", "target", "balance", "mask")  # what the laboratory varies
OF_HYBRID = ("lam", "lam_lr", "leak", *OBJECTIVE)  # fields that the MLM-only arm does not have
LATENT_LOSSES = ("cosine", "smooth-l1", "mse", "infonce", "vicreg", "barlow", "sigreg")
OF_BATCH = ("infonce", "vicreg", "barlow", "sigreg")  # they compare a batch's positions
TARGETS = ("ema", "ema-raw", "top-k", "stopgrad", "live")
BALANCES = ("learned", "scheduled", "uncertainty", "equal-gradients")
ON_COLLAPSE = ("continue", "stop", "mlm", "smooth-l1", "mse", "infonce", "vicreg", "barlow")
MASKS = ("block", "random", "spans", "words", "sentences")
OPTIMIZERS = ("adamw", "muon")
PRESETS = ("smoke", "demo", "demo-published", "paper", "modern")
_TWINS = {"demo": "demo-published", "modern": "paper"}


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
        init: a ModernBERT to begin from, a folder or a hub name; None (auto): fresh weights.
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
        mask: targets of the JEPA branch: block (the paper's), random, spans, words or sentences.
        latent_loss: cosine (the paper's), smooth-l1, mse, infonce, vicreg, barlow or sigreg.
        target: ema (the paper's), ema-raw, top-k, stopgrad or live (see model.TARGETS).
        balance: learned (the paper's), scheduled, uncertainty or equal-gradients.
        mlm_probability: chance that a token is masked.
        batch_size: blocks in a step, over all processes.
        epochs: passes over the corpus, where max_steps is not set.
        max_steps: optimiser steps; the schedules span exactly these.
        optimizer: adamw, or muon (Muon for the blocks' matrices, AdamW at lr for the rest).
        lr: peak learning rate; linear warm-up, then cosine to 0.
        muon_lr: peak learning rate of the blocks' matrices, with muon.
        lam: lambda, fixed between 0 and 1; None (auto): learned. Hybrid arm only.
        lam_lr: peak learning rate of lambda's w; None (auto): lr. Hybrid arm only.
        warmup_steps: steps of linear warm-up.
        weight_decay: weight decay of matrices; other parameters have none.
        betas: AdamW's betas.
        ema: momentum of the target encoder at the first and last step, linear between them.
        precision: fp32, bf16 (autocast), or auto: the fastest on this machine.
        compile: whether to torch.compile the blocks; None (auto): on a GPU only.
        log_every: steps between rows of history.csv.
        checkpoint_every: steps between checkpoints.
        checkpoint_minutes: minutes between checkpoints, in addition to checkpoint_every.
        keep_last: number of checkpoints kept.
        snapshots: encoders kept, evenly spaced over training, with their held-out losses.
        validation_blocks: blocks of held-out text for the losses at the end.
        monitor_every: steps between measurements of the monitor (training.monitor); 0: none.
        on_collapse: after two alarms: continue, stop, mlm (lambda is 0) or a latent loss's name.
    """

    preset: str
    arm: str = "hybrid"
    corpus: str = "docstrings"
    tokenizer: str = "auto"
    init: str | None = None
    # model
    architecture: str = "published"
    hidden_size: int = 512
    num_layers: int = 6
    num_heads: int = 8
    mlp_ratio: int | float = 4
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
    mask: str = "block"
    # objective
    latent_loss: str = "cosine"
    target: str = "ema"
    balance: str = "learned"
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
    monitor_every: int = 50
    on_collapse: str = "continue"

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, read(field.name, getattr(self, field.name)))
        if self.lam_lr is not None and self.lam is not None:
            raise ValueError(
                f"lam_lr={self.lam_lr}, lam={self.lam}: a fixed lambda has no rate. Leave out one."
            )
        check_objective(self)
        check_architecture(
            self.architecture,
            self.token_scale,
            hidden_size=(self.hidden_size, self.num_heads),
            predictor_size=(self.predictor_size, self.predictor_heads),
        )
        if self.arm == "mlm":  # it has no lambda and no context: settings that differ make one run
            for name in OF_HYBRID:
                object.__setattr__(self, name, type(self).__dataclass_fields__[name].default)
            if self.on_collapse != "stop":  # there is nothing to change to
                object.__setattr__(self, "on_collapse", "continue")

    def steps(self, blocks: int) -> int:
        """Optimiser steps on a corpus of `blocks` blocks."""
        return self.max_steps or max(1, int(self.epochs * blocks / self.batch_size))


def split_init(init: str | None) -> tuple[str | None, str]:
    """A recipe's `init` as the name and the digest of the weights, empty before it is known.

    `training.initial.fitted` adds the digest: "some/folder@0123456789abcdef".
    """
    parts = re.fullmatch("(.+)@([0-9a-f]{16})", init or "")
    return (parts[1], parts[2]) if parts else (init, "")


def check_objective(recipe: Recipe):
    """Refuse what cannot be combined (ValueError), with the reason."""
    if recipe.leak and recipe.mask != "block":
        raise ValueError(
            f"leak=True, mask={recipe.mask!r}: the leak is a property of the public code's block "
            "masks. Use mask='block', or leave leak out."
        )
    fewest = recipe.batch_size * recipe.num_targets
    fewest *= max(1, int(recipe.target_scale[0] * recipe.length))
    for name in ("latent_loss", "on_collapse"):
        if recipe.arm == "hybrid" and getattr(recipe, name) in OF_BATCH and fewest < 2:
            raise ValueError(
                f"{name}={getattr(recipe, name)!r}, batch_size={recipe.batch_size}: a batch may "
                "hold a single target position, which has no covariance. Use a larger batch_size, "
                "num_targets or target_scale, or another latent_loss."
            )
    if recipe.on_collapse != "continue" and not recipe.monitor_every:
        raise ValueError(
            f"on_collapse={recipe.on_collapse!r}, monitor_every=0: only the monitor can see a "
            "collapse. Set monitor_every, or on_collapse='continue'."
        )
    if recipe.arm == "hybrid" and recipe.on_collapse == recipe.latent_loss:
        raise ValueError(
            f"on_collapse={recipe.on_collapse!r}, latent_loss={recipe.latent_loss!r}: that changes "
            "nothing. Name another loss, mlm or stop."
        )
    if recipe.balance == "learned":
        return
    for name in ("lam", "lam_lr"):
        value = getattr(recipe, name)
        if value is not None and (name == "lam" or recipe.balance != "uncertainty"):
            raise ValueError(
                f"balance={recipe.balance!r}, {name}={value}: {name} is for balance='learned'. "
                f"Leave one of the two out ({name}=none)."
            )


def check_architecture(architecture: str, token_scale: str, **widths: tuple[int, int]):
    """Refuse what no model can be built from; `widths` are `name=(width, heads)`."""
    if architecture == "modern" and token_scale != "none":
        raise ValueError(
            f"token_scale={token_scale!r} with the modern architecture: its embeddings are "
            "normalised, so a scale has no effect. Use 'none', or architecture='published'."
        )
    for name, (width, heads) in widths.items():
        if width % heads or width % 2:
            raise ValueError(f"{name}={width} over {heads} heads: expected an even multiple.")
        if architecture == "modern" and width // heads % 2:
            raise ValueError(f"{name}={width} over {heads} heads: rotation needs an even width.")


def read(name: str, value):
    """A field of a recipe, or another parameter of a notebook or command, as its declared type.

    From Python, YAML, papermill or a command line: numbers may be text ("1e-4"), whole numbers
    floats (4.0), pairs lists or text ("0.1,0.25"), names numbers (a corpus called 2024), switches
    yes, no, true, false, on, off, 1 or 0. The words none and auto stand for None where allowed.

    Raises:
        ValueError: names the field, its value, and what was expected.
    """
    hint, (limit, valid) = _types()[name], _LIMITS.get(name, ("", lambda _: True))
    optional = isinstance(hint, types.UnionType) and types.NoneType in typing.get_args(hint)
    if optional and str(value).strip().lower() in ("none", "auto"):
        return None
    convert, expected = _KINDS[typing.get_args(hint)[0] if optional else hint]
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        value = convert(value)
        if valid(value):
            return value
    if limit:
        expected = limit if hint is str else f"{expected}, {limit}"
    expected += ", or none (auto)" * optional
    raise ValueError(f"{name}={value!r:.80}: expected {expected}.")


def names(what: str, value) -> list[str]:
    """`"a, b"` or `["a", "b"]` as a list, each name once; ValueError for what holds no names."""
    with contextlib.suppress(TypeError, ValueError):
        parts = value.strip().strip("()[]").split(",") if isinstance(value, str) else [*value]
        words = [_name(part).strip() for part in parts if part != "" and not str(part).isspace()]
        return list(dict.fromkeys(words))
    raise ValueError(f"{what}={value!r:.80}: expected names, as a list or separated by commas.")


def _number(value) -> float:
    if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
        raise TypeError
    number = float(value) + 0.0  # no -0.0
    if not math.isfinite(number):
        raise ValueError
    return number


def _ratio(value) -> int | float:
    number = _number(value)
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _whole(value) -> int:
    exact = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    number = int(value) if exact else _number(value)
    if number != int(number) or not -(2**63) <= number < 2**63:
        raise ValueError
    return int(number)


def _switch(value) -> bool:
    word = str(value).strip().lower()
    if word not in _ON + _OFF:
        raise ValueError
    return word in _ON


def _name(value) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        _number(value)
    name = str(value)
    if not name.strip() or "\0" in name:
        raise ValueError
    return name


def _pair(value) -> tuple[float, float]:
    if isinstance(value, str):
        value = value.strip().strip("()[]").split(",")
    if isinstance(value, bytes | dict | set | frozenset):
        raise TypeError
    first, second = map(_number, value)
    return first, second


_ON, _OFF = ("yes", "true", "on", "1"), ("no", "false", "off", "0")
_KINDS = {
    bool: (_switch, "yes or no"),
    int: (_whole, "a whole number"),
    float: (_number, "a number"),
    int | float: (_ratio, "a number"),
    str: (_name, "a name"),
    tuple[float, float]: (_pair, "two numbers"),
}
_OTHERS = {  # parameters of notebooks and commands that are no field of a recipe
    "seed": int, "seeds": int | None, "workers": int, "max_samples": int,
    "max_train": int | None, "max_pairs": int | None, "data_dir": str | None,
    "every_seed": bool, "train_missing": bool,
}  # fmt: skip


def _types() -> dict[str, typing.Any]:
    return {field.name: field.type for field in dataclasses.fields(Recipe)} | _OTHERS


def _choice(*valid: str):
    return f"one of {', '.join(valid)}", lambda value: value in valid


_LIMITS = {  # what is expected, in words, and the test for it
    "arm": _choice(*ARMS),
    "architecture": _choice(*ARCHITECTURES),
    "token_scale": _choice(*TOKEN_SCALES),
    "optimizer": _choice(*OPTIMIZERS),
    "latent_loss": _choice(*LATENT_LOSSES),
    "target": _choice(*TARGETS),
    "balance": _choice(*BALANCES),
    "mask": _choice(*MASKS),
    "on_collapse": _choice(*ON_COLLAPSE),
    "precision": _choice("fp32", "bf16", "auto"),
    "length": ("at least 3", lambda value: value >= 3),
    "mlm_probability": ("above 0 and at most 1", lambda value: 0 < value <= 1),
    "epochs": ("above 0 and at most a million", lambda value: 0 < value <= 1e6),
    "mlp_ratio": ("above 0 and at most a million", lambda value: 0 < value <= 1e6),
    "lam": ("between 0 and 1", lambda value: 0 < value < 1),
    "checkpoint_minutes": ("above 0", lambda value: value > 0),
    "betas": ("each from 0 to below 1", lambda pair: 0 <= min(pair) and max(pair) < 1),
    "ema": ("each from 0 to 1", lambda pair: 0 <= min(pair) and max(pair) <= 1),
    "seed": ("from 0 to 2^32 - 1", lambda value: 0 <= value < 2**32),
}
_LIMITS |= dict.fromkeys(
    ("context_scale", "target_scale"),
    ("0 < low <= high <= 1", lambda pair: 0 < pair[0] <= pair[1] <= 1),
)
_LIMITS |= dict.fromkeys(
    ("snapshots", "monitor_every", "lr", "muon_lr", "lam_lr", "warmup_steps", "weight_decay"),
    ("0 or more", lambda value: value >= 0),
)
_LIMITS |= dict.fromkeys(
    (
        "hidden_size", "num_layers", "num_heads", "predictor_size",
        "predictor_layers", "predictor_heads", "num_targets", "min_context", "batch_size",
        "max_steps", "log_every", "checkpoint_every", "keep_last", "validation_blocks",
        "seeds", "workers", "max_samples", "max_train", "max_pairs",
    ),
    ("at least 1", lambda value: value >= 1),
)  # fmt: skip


# minutes on two CPU cores
_SMALL = dict(hidden_size=128, num_heads=4, length=64, batch_size=32, snapshots=8)
_SMALL |= dict(predictor_size=64, predictor_layers=2, predictor_heads=2, max_steps=800)
# result of the search in LOG.md (26 November 2026)
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
        monitor_every=10,
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
        "paper",
        corpus="wikitext-103",
        precision="bf16",
        checkpoint_every=1000,
        snapshots=4,
        monitor_every=200,
    ),
    # demo's rate over the square root of the width ratio; the paper's lambda rate; not tuned here
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
        monitor_every=200,
    ),
}


def get(preset: str = "auto", **overrides) -> Recipe:
    """A preset with some fields replaced.

    Args:
        preset: one of `PRESETS`, or `"auto"`: the environment variable `PREDRECON_PRESET` if set,
            else `paper` on a machine with CUDA and `demo` elsewhere.
        overrides: fields of `Recipe`, as `read` takes them; None leaves the preset's value, as does
            the corpus `"auto"`, and `"none"` is the field's own None.

    Raises:
        ValueError: an unknown preset or field (the valid ones are listed) or a bad value.
    """
    name = os.environ.get("PREDRECON_PRESET") or "auto" if preset in ("auto", None) else preset
    if name == "auto":
        import torch

        name = "paper" if torch.cuda.is_available() else "demo"
    if name not in PRESETS:
        raise ValueError(f"preset={name!r:.80}: expected one of {', '.join(PRESETS)}.")
    fields = {f.name for f in dataclasses.fields(Recipe)} - {"preset"}
    if unknown := set(overrides) - fields:
        raise ValueError(
            f"No such field of a recipe: {', '.join(sorted(unknown))}. "
            f"Fields: {', '.join(sorted(fields))}."
        )
    chosen = {k: read(k, v) for k, v in overrides.items() if v is not None}
    if chosen.get("corpus") == "auto":
        del chosen["corpus"]
    given = chosen.get("balance", "learned")
    if chosen.get("lam") is not None or given in ("scheduled", "equal-gradients"):
        chosen = {"lam_lr": None} | chosen  # a lambda that is not learned has no rate
    return dataclasses.replace(_PRESETS[name], **chosen)


def published_twin(recipe: Recipe) -> Recipe | None:
    """The recipe as published, at the same size: same text, masks and bookkeeping.

    The twin also has every field in which `recipe` differs from its preset. None if the preset is
    as published already.
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
    chosen = [read("arm", name) for name in names("arms", value)]
    if not chosen:
        raise ValueError(f"arms is empty: expected some of {', '.join(ARMS)}.")
    return chosen
