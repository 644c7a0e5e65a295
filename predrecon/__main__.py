"""Command line: `python -m predrecon demo`, `pretrain`, `grid` and `pair`."""

import argparse
import signal
import sys
from pathlib import Path

from predrecon import recipes
from predrecon.workbook import options


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m predrecon", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = "run the notebooks headless and print where their results are"
    demo = commands.add_parser("demo", help=about, description=about)
    demo.add_argument(
        "--preset", default="demo", choices=("auto", *recipes.PRESETS), help="default: %(default)s"
    )
    demo.add_argument("--corpus", help="name or path; default: the preset's")
    demo.add_argument("--max-steps", type=int, help="optimiser steps; default: the preset's")
    options.add_pretrain(commands)
    options.add_grid(commands)
    about = "put the outputs of a demo run into notebooks/*.ipynb"
    pair = commands.add_parser("pair", help=about, description=about)
    for command in (demo, pair):
        command.add_argument(
            "--out", type=Path, default=Path("outputs"), help="folder; default: %(default)s"
        )
    given = parser.parse_args(arguments)
    work = {"demo": _demo, "pair": _pair, "pretrain": _pretrain, "grid": _grid}[given.command]
    try:
        work(given)
    except (OSError, ArithmeticError, RuntimeError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as stopped:
        print(f"\n{stopped or 'Stopped.'}", file=sys.stderr)
        return 128 + signal.SIGINT
    return 0


def _demo(given):
    from predrecon.workbook import demo

    asked = {"preset": given.preset, "corpus": given.corpus, "max_steps": given.max_steps}
    demo.run(given.out.resolve(), {k: v for k, v in asked.items() if v is not None})


def _pair(given):
    from predrecon.workbook import demo

    demo.adopt(given.out.resolve())


def _grid(given):
    base = recipes.get(given.preset, **options.overrides(given))
    from predrecon.audit import grid
    from predrecon.data.corpus import load_corpus

    corpus = load_corpus(base.corpus, tokenizer=base.tokenizer, data_dir=given.data_dir)
    names = [n for n in given.conditions.split(",") if n] or list(grid.CONDITIONS)
    asked = grid.cells(base, corpus, range(given.seeds), names)
    done = 0

    def told(cell, run):
        nonlocal done
        done += 1
        found = run.metrics
        print(
            f"[{done}/{len(asked)}] {cell.title}, seed {cell.seed}: {found['steps']:,} steps, "
            f"{found['seconds']:.0f} s, held-out MLM {found['validation_mlm']:.3f} "
            f"(word frequencies {found['validation_unigram']:.3f})",
            flush=True,
        )

    grid.train(asked, workers=given.workers, data_dir=given.data_dir, on_done=told)


def _pretrain(given):
    recipe = recipes.get(given.preset, **options.overrides(given))
    from predrecon.data.corpus import load_corpus
    from predrecon.training import runs
    from predrecon.training.pretraining import pretrain
    from predrecon.workbook import tables

    corpus = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=given.data_dir)
    run = pretrain(
        recipe,
        corpus,
        given.out or runs.folder(recipe, corpus, given.seed),
        seed=given.seed,
        resume=not given.no_resume,
        may_differ=tuple(name for name in given.may_differ.split(",") if name),
        tracker=given.tracker,
        shard=given.shard,
    )
    import accelerate

    if accelerate.PartialState().is_main_process:
        print(f"{run.folder}\n{tables.budget({recipe.arm: run})}")


if __name__ == "__main__":
    sys.exit(main())
