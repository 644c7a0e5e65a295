"""The laboratory: latent losses, targets, balances and masks against the paper's and MLM-only.

A cell is one run of one combination and seed. The paper's objective, and MLM-only with the same
operations, are always included as controls. The grid trains, resumes and finds runs.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import pandas as pd
import torch

from predrecon import recipes
from predrecon.audit import grid
from predrecon.audit.contrasts import paired_contrasts
from predrecon.audit.grid import EQUAL_FLOPS, Cell, recipe_of
from predrecon.audit.statistics import student_p
from predrecon.data import paths
from predrecon.data.corpus import Corpus
from predrecon.objectives import LATENT_LOSSES, latent_loss
from predrecon.recipes import Recipe
from predrecon.training.run_folder import Run

AXES: dict[str, dict[str, dict]] = {
    axis: {name: {axis: name} for name in names}
    for axis, names in (
        ("latent_loss", recipes.LATENT_LOSSES),
        ("target", recipes.TARGETS),
        ("balance", recipes.BALANCES),
        ("mask", recipes.MASKS),
    )
}
"""`{axis: {choice: fields of the recipe}}`; the first choice of each axis is the paper's."""
AXES["balance"] |= {f"fixed-{lam}": {"lam": lam, "lam_lr": None} for lam in (0.1, 0.5, 0.9)}
AXES["mask"]["leak"] = {"leak": True}

CONTROLS = ("hybrid", EQUAL_FLOPS)
"""The paper's objective, and MLM-only with as many operations: conditions of the grid."""


def one_at_a_time(*more: str) -> list[str]:
    """Every choice by itself, all else as in the paper, then `more`: names as in `cells`."""
    singles = [name for choices in AXES.values() for name in list(choices)[1:]]
    return [*singles, *more]


def product(**axes: str | Iterable[str]) -> list[str]:
    """All combinations of the named choices, `"a + b"`; the paper's choices are left out of names.

    Raises:
        ValueError: an unknown axis or choice (the known ones are listed).
    """
    lists = []
    for axis, chosen in axes.items():
        if axis not in AXES:
            raise ValueError(f"axis {axis!r}: expected some of {', '.join(AXES)}.")
        chosen = recipes.names(axis, chosen) or list(AXES[axis])
        for name in chosen:
            if name not in AXES[axis]:
                raise ValueError(f"{axis}={name!r}: expected some of {', '.join(AXES[axis])}.")
        default = next(iter(AXES[axis]))
        lists.append([name if name != default else "" for name in chosen])
    combinations = (" + ".join(filter(None, names)) for names in itertools.product(*lists))
    return [name for name in dict.fromkeys(combinations) if name]


def fields_of(combination: str) -> dict:
    """Fields of the recipe of a combination such as `"sigreg + live"`.

    Raises:
        ValueError: an unknown choice (the known ones are listed), or two of one axis.
    """
    known = {name: (axis, fields) for axis, names in AXES.items() for name, fields in names.items()}
    changes, axes = {}, {}
    for name in map(str.strip, combination.split("+")):
        if name not in known:
            listed = "; ".join(f"{axis}: {', '.join(names)}" for axis, names in AXES.items())
            raise ValueError(f"{name!r} is not a choice of the laboratory. Known: {listed}.")
        axis, fields = known[name]
        if axis in axes:
            raise ValueError(f"{combination!r}: {axes[axis]} and {name} are both a {axis}.")
        axes[axis] = name
        changes |= fields
    if changes.get("balance", "learned") in ("scheduled", "equal-gradients"):
        changes["lam_lr"] = None
    return changes


def cells(
    base: Recipe, corpus: Corpus, combinations: str | Iterable[str] | None = None, seeds=4
) -> list[Cell]:
    """All runs, seed by seed, controls first, so that an unfinished laboratory can be compared.

    Args:
        base: what all runs share; its own objective must be the paper's.
        combinations: names such as `"infonce"` or `"sigreg + live"`, a list or separated by commas;
            None: `one_at_a_time()`.
        seeds: how many, from 0 on, or which.

    Raises:
        ValueError: an unknown choice, one that cannot be combined, a base with another objective.
    """
    for name in ("arm", *recipes.OBJECTIVE, "leak", "lam"):
        value, expected = getattr(base, name), Recipe.__dataclass_fields__[name].default
        if value != expected:
            raise ValueError(
                f"{name}={value!r}: the laboratory's base must have the paper's objective "
                f"({expected!r}); name other choices among the combinations."
            )
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        seeds = range(recipes.read("seeds", seeds))
    chosen = one_at_a_time() if combinations is None else combinations
    chosen = recipes.names("combinations", chosen)
    planned = {name: recipe_of(name, base, corpus) for name in CONTROLS}
    planned |= {name: dataclasses.replace(base, **fields_of(name)) for name in chosen}
    return [Cell(name, seed, recipe) for seed in seeds for name, recipe in planned.items()]


def contrasts(endpoints: pd.DataFrame) -> pd.DataFrame:
    """Every combination against the paper's objective and against MLM-only, paired by seed.

    Args:
        endpoints: of `audit.contrasts.endpoints`.

    Returns:
        As `paired_contrasts`, corrected over all combinations and metrics of both comparisons, with
        the columns `combination, against` instead of `contrast`. p is Student's: sign flips of four
        seeds cannot go below 0.125.
    """
    names = [name for name in endpoints["condition"].unique() if name not in CONTROLS]
    pairs = {(name, other): (name, other) for name in names for other in CONTROLS}
    pairs |= {("hybrid", EQUAL_FLOPS): ("hybrid", EQUAL_FLOPS)}
    table = paired_contrasts(endpoints, pairs, p_value=student_p)
    if table.empty:
        return table
    table[["combination", "against"]] = table.pop("contrast").tolist()
    return table


def histories(runs: dict[Cell, Run]) -> pd.DataFrame:
    """history.csv of all runs, with the columns `condition, title, seed` in front."""
    parts = [run.history.assign(**cell.labels) for cell, run in runs.items()]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def pulls(history: pd.DataFrame) -> pd.DataFrame:
    """How the two losses pull at the last shared layer, over the second half of training.

    Args:
        history: of `histories`.

    Returns:
        By `title`, mean of rows and seeds: `lam`, `share` (JEPA's gradient over MLM's, before
        lambda weights them), `gradient_cosine`, `seeds`.
    """
    ends = history.groupby(["condition", "seed"])["step"].transform("max")
    late = history[history["step"] > ends / 2].dropna(subset=["jepa_gradient"])
    late = late.assign(share=late["jepa_gradient"] / late["mlm_gradient"])
    by_title = late.groupby("title", sort=False)
    means = by_title[["lam", "share", "gradient_cosine"]].mean()
    return means.assign(seeds=by_title["seed"].nunique())


def cases(n: int = 64, dim: int = 8) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Predicted and target vectors `[n, dim]` that everyone can picture."""
    spread = torch.randn(n, dim, generator=torch.Generator().manual_seed(0))
    axes, point = torch.eye(dim).repeat(n // dim, 1), torch.ones(n, dim)
    return {
        "equal": (spread, spread),
        "orthogonal": (axes, axes.roll(1, dims=1)),
        "collapsed": (point, point),
    }


def loss_table(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> pd.DataFrame:
    """Every latent loss of every pair of `cases`."""
    dim = next(iter(pairs.values()))[0].shape[1]
    directions = torch.randn(dim, 64, generator=torch.Generator().manual_seed(1))
    directions = torch.nn.functional.normalize(directions, dim=0)
    return pd.DataFrame(
        {
            case: {name: latent_loss(name, *pair, directions).item() for name in LATENT_LOSSES}
            for case, pair in pairs.items()
        }
    )


def finished(planned: list[Cell], corpus: Corpus, *, train: bool = False) -> dict[Cell, Run]:
    """The finished runs among `planned`; with `train` those that are missing are trained first."""
    if recipes.read("train_missing", train):
        grid.train(planned, corpus)
    return grid.finished(planned, corpus)


def first_answer() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame] | None:
    """Facts, histories and `endpoints` of the runs behind the findings; None without them.

    The geometry is of the runs whose weights were kept, the nats of all.
    """
    folder = paths.evidence_dir() / "lab"
    if not folder.is_dir():
        return None
    facts, history, geometry = (
        pd.read_csv(folder / f"{name}.csv") for name in ("facts", "histories", "geometry")
    )
    nats = facts.assign(task="", metric="below_unigram", value=facts["below_unigram"])
    ends = pd.concat([nats, geometry], ignore_index=True)
    return facts, history, ends[["condition", "title", "seed", "task", "metric", "value"]]
