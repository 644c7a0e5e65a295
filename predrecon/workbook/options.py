"""`python -m predrecon pretrain`: every field of a recipe as an option."""

import argparse
import dataclasses
import typing

from predrecon import recipes

HELP = {
    "arm": "objective: hybrid (JEPA and MLM) or mlm",
    "corpus": "docstrings, wikitext-103, wikipedia, or a path",
    "tokenizer": "a hub name or a folder; auto: the corpus's own",
    "hidden_size": "encoder width D",
    "num_layers": "encoder layers",
    "num_heads": "encoder heads",
    "mlp_ratio": "width of the MLPs over D",
    "predictor_size": "predictor width",
    "predictor_layers": "predictor layers",
    "predictor_heads": "predictor heads",
    "token_scale": "none (as published) or sqrt_dim (token embeddings times the root of D)",
    "length": "tokens in a block",
    "context_scale": "smallest and largest context block, as shares of a block: LOW,HIGH",
    "target_scale": "smallest and largest target block: LOW,HIGH",
    "num_targets": "target blocks of a sample",
    "min_context": "context tokens that stay after the targets are cut out",
    "mlm_probability": "chance of a token to be masked",
    "batch_size": "blocks in a step, over all processes",
    "epochs": "passes over the corpus, where max-steps is not given",
    "max_steps": "optimiser steps; the schedules span exactly these",
    "lr": "peak learning rate",
    "lam": "lambda, fixed between 0 and 1; auto: learned",
    "lam_lr": "peak learning rate of lambda's w; auto: lr",
    "warmup_steps": "steps of linear warm-up",
    "weight_decay": "of matrices",
    "betas": "of AdamW: FIRST,SECOND",
    "ema": "momentum of the target encoder at the first and last step: FIRST,LAST",
    "precision": "fp32, bf16, or auto: what is fastest on this machine",
    "compile": "torch.compile the blocks: yes, no, or auto (on a GPU)",
    "log_every": "steps between rows of history.csv",
    "checkpoint_every": "steps between checkpoints",
    "checkpoint_minutes": "minutes between checkpoints, besides (one process only)",
    "keep_last": "checkpoints kept",
    "snapshots": "encoders kept over training",
    "validation_blocks": "held-out blocks that the final losses are taken on",
}
_WORDS = {"yes": True, "no": False, "auto": None, "none": None}


def add_pretrain(commands):
    """Add the `pretrain` command to a parser's subcommands."""
    about = "train one arm without a notebook: in one process, or under accelerate launch"
    parser = commands.add_parser("pretrain", help=about, description=about)
    parser.add_argument(
        "--preset", default="auto", choices=("auto", *recipes.PRESETS),
        help="where all other values come from; auto: paper on a CUDA machine, else demo. "
        "Default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--out", help="the run's folder; default: one in runs/ named after it all")
    parser.add_argument("--data-dir", help="local copies of the real data; default: PREDRECON_DATA")
    parser.add_argument(
        "--no-resume", action="store_true", help="refuse a folder that already holds a run"
    )
    parser.add_argument(
        "--may-differ", default="", metavar="FIELD,FIELD",
        help="fields that may differ from those of the run in the folder; default: none",
    )  # fmt: skip
    parser.add_argument(
        "--shard", action="store_true",
        help="spread weights and optimiser over the processes (FSDP): for models too large for DDP",
    )  # fmt: skip
    parser.add_argument("--tracker", choices=("tensorboard", "wandb", "trackio"),
                        help="log there too; default: nowhere")  # fmt: skip
    _add_fields(parser)


def add_grid(commands):
    """Add the `grid` command to a parser's subcommands."""
    about = "train the grid of notebook 06: objective x token scale, lambda fixed or slow, seeds"
    parser = commands.add_parser("grid", help=about, description=about)
    parser.add_argument(
        "--preset", default="demo", choices=("auto", *recipes.PRESETS), help="default: %(default)s"
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many; default: %(default)s")
    parser.add_argument(
        "--workers", type=int, default=2, help="runs at a time, a thread each; default: %(default)s"
    )
    parser.add_argument(
        "--conditions", default="", metavar="NAME,NAME", help="default: all of them"
    )
    parser.add_argument("--data-dir", help="local copies of the real data; default: PREDRECON_DATA")
    _add_fields(parser)


def _add_fields(parser: argparse.ArgumentParser):
    """Every field of a recipe as an option."""
    group = parser.add_argument_group("recipe", "values of the preset, unless given")
    kinds = typing.get_type_hints(recipes.Recipe)
    for field in dataclasses.fields(recipes.Recipe):
        if field.name != "preset":
            group.add_argument(
                "--" + field.name.replace("_", "-"),
                type=_reader(kinds[field.name]),
                metavar=_metavar(kinds[field.name]),
                help=f"{HELP[field.name]}. {_defaults(field.name)}",
            )


def overrides(given: argparse.Namespace) -> dict:
    """The fields of a recipe that were given."""
    names = (f.name for f in dataclasses.fields(recipes.Recipe) if f.name != "preset")
    return {name: getattr(given, name) for name in names if getattr(given, name) is not None}


def _reader(kind):
    """From a word on the command line to a field's value."""
    if typing.get_origin(kind) is tuple:
        return _pair
    kinds = [k for k in typing.get_args(kind) or (kind,) if k is not type(None)]
    return _switch if kinds == [bool] else kinds[0]


def _pair(word: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in word.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r}: expected two numbers, as 0.1,0.25") from None
    return first, second


def _switch(word: str) -> bool | None:
    if word not in _WORDS:
        raise argparse.ArgumentTypeError(f"{word!r}: expected one of yes, no, auto")
    return _WORDS[word]


def _metavar(kind) -> str:
    if typing.get_origin(kind) is tuple:
        return "A,B"
    kinds = [k for k in typing.get_args(kind) or (kind,) if k is not type(None)]
    return {bool: "yes|no|auto", int: "N", float: "X", str: "NAME"}[kinds[0]]


def _defaults(name: str) -> str:
    """Each preset's value, once if they agree."""
    values = {p: _shown(getattr(recipes.get(p), name)) for p in recipes.PRESETS}
    if len(set(values.values())) == 1:
        return f"Default: {values['paper']}"
    return "Default: " + ", ".join(f"{p} {v}" for p, v in values.items())


def _shown(value) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{v:g}" for v in value)
    return "auto" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
