"""Command line: `python -m predrecon` and one of the commands below."""

import argparse
import dataclasses
import inspect
import itertools
import re
import signal
import sys
from pathlib import Path

from predrecon import recipes

_DEMO = ("preset", "corpus", "tokenizer", "max_steps")  # what a demo run may change
_LAB = ("seeds", "workers", "combinations")  # options of the laboratory besides recipe fields
_WORDS = {bool: "yes|no", int: "N", float: "X", str: "NAME", tuple[float, float]: "A,B"}
_WORDS[int | float] = "X"
_WORDS |= {kind | None: f"{word}|auto" for kind, word in _WORDS.items()}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status. Errors are one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (OSError, ArithmeticError, RuntimeError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\n{stopped or 'Stopped.'}", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _demo(options):
    """run the notebooks headless and print where their results are"""
    from predrecon.workbook import demo

    named = {name: getattr(options, name) for name in _DEMO}
    named = {name: value for name, value in named.items() if value is not None}
    recipe = recipes.get(**named)
    values = {name: getattr(recipe, name) for name in named}
    demo.run(options.out.resolve(), {k: "none" if v is None else v for k, v in values.items()})


def _pair(options):
    """put the outputs of a demo run into notebooks/*.ipynb"""
    from predrecon.workbook import demo

    demo.adopt(options.out.resolve())


def _pretrain(options):
    """train one arm without a notebook: in one process, or under accelerate launch"""
    recipe = recipes.get(options.preset, **_overrides(options))
    seed = recipes.read("seed", options.seed)
    import accelerate

    from predrecon.data.corpus import load_corpus
    from predrecon.training import initial
    from predrecon.training.loop import pretrain
    from predrecon.training.run_folder import folder_of
    from predrecon.workbook import tables

    recipe = initial.fitted(recipe, named=_overrides(options))
    corpus = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=options.data_dir)
    run = pretrain(
        recipe,
        corpus,
        options.out or folder_of(recipe, corpus, seed),
        seed=seed,
        resume=not options.no_resume,
        may_differ=tuple(filter(None, options.may_differ.split(","))),
        tracker=options.tracker,
        shard=options.shard,
    )
    if accelerate.PartialState().is_main_process:
        print(f"{run.folder}\n{tables.budget(recipe.arm, [run])}")


def _grid(options):
    """train the grid of notebook 06: objective, equal operations, lambda, a leak, as published"""
    base = recipes.get(options.preset, **_overrides(options))
    if base.init:
        raise ValueError(f"init={base.init!r}: the grid's runs begin from fresh weights.")
    seeds, workers = (recipes.read(name, getattr(options, name)) for name in ("seeds", "workers"))
    from predrecon.audit import grid
    from predrecon.data.corpus import load_corpus

    corpus = load_corpus(base.corpus, tokenizer=base.tokenizer, data_dir=options.data_dir)
    _train_cells(grid.cells(base, corpus, seeds, options.conditions), corpus, workers)


def _lab(options):
    """train combinations of latent losses, targets, balances and masks, and their controls"""
    chosen = _read_yaml(options.file) if options.file else {}
    named = {*_LAB, *_fields()}
    chosen |= {k: v for k, v in vars(options).items() if k in named and v is not None}
    seeds, workers = (recipes.read(n, chosen.pop(n, d)) for n, d in (("seeds", 4), ("workers", 2)))
    axes = {name: chosen.pop(name) for name in recipes.OBJECTIVE if name in chosen}
    combinations = recipes.names("combinations", chosen.pop("combinations", ""))
    base = recipes.get(chosen.pop("preset", options.preset), **chosen)
    from predrecon.audit import lab
    from predrecon.data.corpus import load_corpus

    combinations += lab.product(**axes) if axes else []
    combinations = combinations if axes else combinations or None
    corpus = load_corpus(base.corpus, tokenizer=base.tokenizer, data_dir=options.data_dir)
    _train_cells(lab.cells(base, corpus, combinations, seeds), corpus, workers)


def _read_yaml(file: Path) -> dict:
    """A laboratory's file: `seeds`, `combinations`, axes, and fields of the recipe."""
    import yaml

    try:
        chosen = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{file} is not YAML: {error}") from None
    if not isinstance(chosen, dict):
        raise ValueError(f"{file}: expected `name: value` lines, as in `latent_loss: [sigreg]`.")
    return chosen


def _train_cells(cells: list, corpus, workers: int):
    """Train what is not on disk yet, and print a line per run."""
    from predrecon.audit import grid

    numbers = itertools.count(1)

    def report(cell, run):
        metrics = run.metrics
        print(
            f"[{next(numbers)}/{len(cells)}] {cell.title}, seed {cell.seed}: "
            f"{metrics['steps']:,} steps, {metrics['seconds']:.0f} s, "
            f"held-out MLM {metrics['validation_mlm']:.3f} "
            f"(word frequencies {metrics['validation_unigram']:.3f})",
            flush=True,
        )

    grid.train(cells, corpus, workers=workers, on_done=report)


def _export(options):
    """write a run as a plain ModernBERT that transformers and sentence-transformers open"""
    from predrecon.workbook import export

    run = export.find_run(options.run_folder)
    folder = export.export(run, options.folder, tasks=[] if options.no_geometry else None)
    print(folder)
    if run.recipe.architecture != "modern":
        print(export.NO_MODERNBERT)


def _analyse(options):
    """geometry and probes of any encoders: tables, figures, one page"""
    from predrecon.workbook.analyse import analyse

    names = ("tasks", "max_samples", "max_pairs", "more", "data_dir", "tokenizer")
    names += ("trust_remote_code",)
    chosen = {name: getattr(options, name) for name in names}
    heads = options.num_heads and recipes.read("num_heads", options.num_heads)
    print(analyse(options.encoders, options.out, num_heads=heads, **chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m predrecon", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(run, preset: str = "") -> argparse.ArgumentParser:
        name, about = run.__name__.strip("_"), run.__doc__
        added = commands.add_parser(name, help=about, description=about)
        added.set_defaults(run=run)
        if preset:
            added.add_argument(
                "--preset", default=preset, choices=("auto", *recipes.PRESETS),
                help="where all other values come from; auto: paper on a CUDA machine, else demo. "
                "Default: %(default)s",
            )  # fmt: skip
        return added

    demo, pair = command(_demo, "demo"), command(_pair)
    demo.add_argument("--corpus", help="name or path; default: the preset's")
    demo.add_argument("--tokenizer", help="hub name or folder; default: the corpus's own")
    demo.add_argument("--max-steps", help="optimiser steps; default: the preset's")
    folder = {"type": Path, "default": Path("outputs"), "help": "folder; default: %(default)s"}
    for added in (demo, pair):
        added.add_argument("--out", **folder)

    pretrain = command(_pretrain, "auto")
    pretrain.add_argument("--seed", default=0, help="default: %(default)s")
    pretrain.add_argument(
        "--out", help="the run's folder; default: one in runs/, named after recipe, text and seed"
    )
    pretrain.add_argument(
        "--no-resume", action="store_true", help="refuse a folder that already holds a run"
    )
    pretrain.add_argument(
        "--may-differ", default="", metavar="FIELD,FIELD",
        help="fields that may differ from those of the run in the folder; default: none",
    )  # fmt: skip
    sharding = (
        "spread weights and optimiser over the processes (FSDP): for models too large for DDP"
    )
    pretrain.add_argument("--shard", action="store_true", help=sharding)
    trackers = ("tensorboard", "wandb", "trackio")
    pretrain.add_argument("--tracker", choices=trackers, help="log there too; default: nowhere")

    export = command(_export)
    export.add_argument("run_folder", metavar="RUN", help="a finished run: its folder or name")
    export.add_argument("folder", metavar="DIR", type=Path, help="a new or empty folder")
    export.add_argument(
        "--no-geometry", action="store_true",
        help="leave geometry out of the model card: it takes seconds with the demo's encoders and "
        "minutes on two cores with one of the paper's size",
    )  # fmt: skip

    grid = command(_grid, "demo")
    grid.add_argument(
        "--seeds", help="of each condition; default: 8 of the first three, 3 of the rest"
    )
    grid.add_argument(
        "--workers", default=2, help="runs at a time, one thread each; default: %(default)s"
    )
    grid.add_argument("--conditions", default="", metavar="NAME,NAME", help="default: all of them")

    lab = command(_lab, "demo")
    lab.add_argument("--seeds", help="of each combination; default: 4")
    lab.add_argument("--workers", help="runs at a time, one thread each; default: 2")
    lab.add_argument(
        "--combinations", metavar="NAME,NAME",
        help="choices, or several joined by + (sigreg+live); default: every choice by itself",
    )  # fmt: skip
    for axis in recipes.OBJECTIVE:
        lab.add_argument(
            "--" + axis.replace("_", "-"), metavar="NAME,NAME",
            help="choices of this axis; all combinations of the named axes are trained",
        )  # fmt: skip
    lab.add_argument("--file", type=Path, help="these options and fields of a recipe, as YAML")

    analyse = command(_analyse)
    analyse.add_argument(
        "encoders", nargs="+", metavar="ENCODER",
        help="a run's folder, a model of transformers or sentence-transformers (folder or hub "
        "name), or a checkpoint of the paper's public code (a file)",
    )  # fmt: skip
    analyse.add_argument(
        "--tasks", default="auto", metavar="NAME,NAME",
        help="glue, embedded, or names (sst2,stsb); sts or some (sts12,sts13) for graded pairs; "
        "blimp for minimal pairs; default: glue",
    )  # fmt: skip
    analyse.add_argument("--out", type=Path, default=Path("analysis"), help=folder["help"])
    analyse.add_argument(
        "--max-samples", default=2000, metavar="N", help="texts of a task; default: %(default)s"
    )
    analyse.add_argument(
        "--max-pairs", default=50, metavar="N", help="per paradigm of BLiMP; default: %(default)s"
    )
    analyse.add_argument(
        "--more", action="store_true",
        help="also retrieval, kNN and MLP probes, other papers' metrics, how similar encoders are",
    )  # fmt: skip
    heads = "heads of the public code's checkpoints, which do not store it; default: 8"
    analyse.add_argument("--num-heads", metavar="N", help=heads)
    analyse.add_argument("--tokenizer", help="instead of the encoders' own")
    analyse.add_argument(
        "--trust-remote-code", action="store_true", help="run code that comes with an encoder"
    )
    copies = "local copies of the real data; default: PREDRECON_DATA"
    for added in (pretrain, grid, lab, analyse):
        added.add_argument("--data-dir", help=copies)
    for added in (pretrain, grid):
        _add_recipe_fields(added)
    _add_recipe_fields(lab, without=recipes.OF_HYBRID)
    return parser


def _add_recipe_fields(parser: argparse.ArgumentParser, without: tuple[str, ...] = ()):
    """Every field of a recipe as an option, explained by the docstring of `Recipe`."""
    group = parser.add_argument_group("recipe", "replace values of the preset")
    attributes = inspect.getdoc(recipes.Recipe).split("Attributes:")[1]
    about = dict(re.findall(r"^    (\w+): (.+)\.$", attributes, re.MULTILINE))
    for name, kind in _fields().items():
        if name in without:
            continue
        values = {preset: getattr(recipes.get(preset), name) for preset in recipes.PRESETS}
        texts = {preset: _text(value) for preset, value in values.items()}
        same = len(set(texts.values())) == 1
        default = texts["paper"] if same else ", ".join(f"{p} {text}" for p, text in texts.items())
        group.add_argument(
            "--" + name.replace("_", "-"),
            metavar=_WORDS[kind],
            default=argparse.SUPPRESS,
            help=f"{about[name]}. Default: {default}".replace("%", "%%"),
        )


def _fields() -> dict[str, type]:
    """The fields of a recipe that are options."""
    return {f.name: f.type for f in dataclasses.fields(recipes.Recipe) if f.name != "preset"}


def _overrides(options: argparse.Namespace) -> dict:
    """The fields of a recipe that were named on the command line."""
    return {name: value for name, value in vars(options).items() if name in _fields()}


def _text(value) -> str:
    if isinstance(value, tuple):
        return ",".join(f"{v:g}" for v in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "auto" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
