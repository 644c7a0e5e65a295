"""The experiment that the paper lacks: a grid of runs that separates causes.

Both objectives; MLM-only at the hybrid's operations instead of its steps; lambda fixed, or slower;
targets that leak into the context; the architecture and optimiser as published; each with several
seeds.
"""

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass

import torch

from predrecon.data.corpus import Corpus
from predrecon.recipes import Recipe, get, names, published_twin, read
from predrecon.training.batches import draw_batch
from predrecon.training.flops import batch_flops
from predrecon.training.loop import ensure
from predrecon.training.machine import Interrupted, StopRequest
from predrecon.training.optimizer import model_config
from predrecon.training.run_folder import Run, folder_of

EQUAL_FLOPS = "mlm-flops"
CONDITIONS: dict[str, tuple[str, dict]] = {
    "hybrid": ("hybrid", {}),
    "mlm": ("MLM-only", {"arm": "mlm"}),
    EQUAL_FLOPS: ("MLM-only, hybrid's FLOPs", {"arm": "mlm"}),
    "hybrid-lam25": ("hybrid, λ = 0.25", {"lam": 0.25}),
    "hybrid-lam50": ("hybrid, λ = 0.5", {"lam": 0.5}),
    "hybrid-lam75": ("hybrid, λ = 0.75", {"lam": 0.75}),
    "hybrid-slow": ("hybrid, λ's rate / 10", {"lam_lr": 0.1}),  # a share of the base's
    "leak": ("hybrid, targets leak", {"leak": True}),
    "published": ("hybrid as published", {"architecture": "published"}),  # `published_twin`
    "published-mlm": ("MLM-only as published", {"architecture": "published", "arm": "mlm"}),
}
"""`{name: (title, fields that differ from the base)}`."""

SEEDS = dict.fromkeys(CONDITIONS, 3) | dict.fromkeys(("hybrid", "mlm", EQUAL_FLOPS), 8)
"""Seeds per condition: eight for those that measure the size of the objective's effect."""

_stop = None  # in a worker: set when no further run may begin


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    condition: str
    seed: int
    recipe: Recipe

    @property
    def title(self) -> str:
        return CONDITIONS.get(self.condition, (self.condition,))[0]

    @property
    def labels(self) -> dict:
        """The columns that name a cell in tables."""
        return {"condition": self.condition, "title": self.title, "seed": self.seed}


def cells(
    base: Recipe,
    corpus: Corpus,
    seeds: Iterable[int] | int | str | None = None,
    conditions: str | Iterable[str] = "",
) -> list[Cell]:
    """All runs, seed by seed, so that an unfinished grid holds whole comparisons.

    Args:
        base: what all conditions share.
        seeds: of every condition, or how many, from 0 on; None: as many as `SEEDS` says.
        conditions: names, as a list or separated by commas; empty: all that `base` allows (a base
            that is as published already has no published twin).

    Raises:
        ValueError: an unknown condition (the valid ones are listed); a base that sets a field that
            conditions vary; too few steps to distinguish equal operations from equal steps.
    """
    if not isinstance(seeds, Iterable) or isinstance(seeds, str):
        count = read("seeds", seeds)
        seeds = None if count is None else range(count)
    twin = published_twin(base) is not None
    every = [
        name for name, (_, changes) in CONDITIONS.items() if twin or "architecture" not in changes
    ]
    chosen = names("conditions", conditions) or every
    recipes = {name: recipe_of(name, base, corpus) for name in chosen}
    return [
        Cell(name, seed, recipe)
        for seed in (range(max(SEEDS.values())) if seeds is None else seeds)
        for name, recipe in recipes.items()
        if seeds is not None or seed < SEEDS[name]
    ]


def recipe_of(condition: str, base: Recipe, corpus: Corpus) -> Recipe:
    """The recipe of a condition. Errors as in `cells`."""
    if condition not in CONDITIONS:
        raise ValueError(f"condition {condition!r}: expected some of {', '.join(CONDITIONS)}.")
    preset = get(base.preset)
    for field in dataclasses.fields(Recipe):
        varied = [name for name, (_, changes) in CONDITIONS.items() if field.name in changes]
        value, expected = getattr(base, field.name), getattr(preset, field.name)
        if varied and value != expected:
            raise ValueError(
                f"{field.name}={value!r}: a grid's base must leave it at {expected!r}, since its "
                f"conditions vary it ({', '.join(varied)}). Choose among the conditions instead."
            )
    changes = dict(CONDITIONS[condition][1])
    if "architecture" in changes:
        base = published_twin(base)
        if base is None:
            raise ValueError(
                f"condition {condition!r}: preset={preset.preset!r} is as published already."
            )
    if "lam_lr" in changes:
        changes["lam_lr"] *= base.lr if base.lam_lr is None else base.lam_lr
    if "lam" in changes:
        changes["lam_lr"] = None
    if condition == EQUAL_FLOPS:
        changes["max_steps"] = _steps_of_equal_flops(base, corpus)
    return dataclasses.replace(base, **changes)


def _steps_of_equal_flops(base: Recipe, corpus: Corpus) -> int:
    """MLM-only steps that cost as many operations as the hybrid's, from 64 batches."""
    blocks, totals = corpus.blocks("train", base.length), []
    for arm in ("hybrid", "mlm"):
        recipe = dataclasses.replace(base, arm=arm)
        config = model_config(recipe, corpus)
        batches = (draw_batch(recipe, corpus, blocks, 0, step) for step in range(64))
        totals.append(float(sum(batch_flops(config, batch) for batch in batches)))
    steps = base.steps(len(blocks))
    equal = round(steps * totals[0] / totals[1])
    if equal == steps:
        raise ValueError(
            f"max_steps={steps}: too few, {EQUAL_FLOPS!r} would equal 'mlm'. "
            "Use more steps, or leave this condition out."
        )
    return equal


def train(
    planned: list[Cell],
    corpus: Corpus,
    *,
    workers: int = 2,
    on_done: Callable[[Cell, Run], None] | None = None,
):
    """Train the runs that are not on disk yet, `workers` at a time, each on one thread.

    Small matrices gain little from a second thread. On a GPU use one worker.

    Raises:
        Interrupted: SIGTERM or SIGINT; runs in training have written a checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with (
        StopRequest(patient=True) as request,
        ProcessPoolExecutor(workers, context, _begin, (stop,)) as pool,
    ):
        pending = {pool.submit(_train, cell, corpus): cell for cell in planned}
        try:
            while pending:
                ready, _ = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                if request.name:
                    raise Interrupted(
                        f"Stopped by {request.name}: every run in training writes a checkpoint. "
                        "The same command continues from there."
                    )
                for future in ready:
                    cell, run = pending.pop(future), future.result()
                    if on_done:
                        on_done(cell, run)
        except BaseException:
            stop.set()
            for worker in multiprocessing.active_children():
                worker.terminate()  # once: a second signal would kill a run without a checkpoint
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def finished(planned: list[Cell], corpus: Corpus) -> dict[Cell, Run]:
    """The finished runs among `planned`.

    Raises:
        ValueError: a folder that holds the run of another recipe, corpus or seed.
    """
    done = {}
    for cell in planned:
        run = Run(folder_of(cell.recipe, corpus, cell.seed))
        if run.finished:
            own = folder_of(run.recipe, corpus, run.facts["seed"])
            if own != run.folder or run.facts["corpus"] != corpus.fingerprint:
                raise ValueError(
                    f"{run.folder} holds the run of another recipe, corpus or seed than its name "
                    f"says ({cell.title}, seed {cell.seed}). Move it away, then train this one."
                )
            done[cell] = run
    return done


def _begin(stop):
    """In a worker: one thread, and signals only from the process that started it."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _train(cell: Cell, corpus: Corpus) -> Run:
    if _stop.is_set():
        raise Interrupted("The grid was stopped.")
    return ensure(cell.recipe, corpus, seed=cell.seed)
