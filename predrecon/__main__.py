"""Command line: `python -m predrecon demo` and `python -m predrecon pair`."""

import argparse
import sys
from pathlib import Path

from predrecon import recipes


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m predrecon", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    about = "run the five notebooks headless and print where their results are"
    demo = commands.add_parser("demo", help=about, description=about)
    demo.add_argument(
        "--preset", default="demo", choices=("auto", *recipes.PRESETS), help="default: %(default)s"
    )
    demo.add_argument("--corpus", help="name or path; default: the preset's")
    demo.add_argument("--max-steps", type=int, help="optimiser steps; default: the preset's")
    demo.add_argument(
        "--out", type=Path, default=Path("outputs"), help="folder; default: %(default)s"
    )
    about = "put the outputs of a demo run into notebooks/*.ipynb"
    pair = commands.add_parser("pair", help=about, description=about)
    pair.add_argument(
        "--out", type=Path, default=Path("outputs"), help="folder; default: %(default)s"
    )
    given = parser.parse_args(arguments)
    from predrecon import demo as notebooks

    if given.command == "pair":
        notebooks.adopt(given.out.resolve())
        return 0
    options = {"preset": given.preset, "corpus": given.corpus, "max_steps": given.max_steps}
    try:
        notebooks.run(given.out.resolve(), {k: v for k, v in options.items() if v is not None})
    except (OSError, RuntimeError, ValueError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
