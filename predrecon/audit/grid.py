"""The experiment that the paper lacks: a grid of runs that tells causes apart.

Objective x token scale; lambda fixed, or with a learning rate of its own; MLM-only at the hybrid's
operations instead of its steps; several seeds of each.
"""

import dataclasses
import multiprocessing
import os
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import dataclass

import torch

from predrecon.data.corpus import Corpus, load_corpus
from predrecon.recipes import Recipe
from predrecon.training import runs
from predrecon.training.assembly import model_config
from predrecon.training.batches import draw_batch
from predrecon.training.flops import batch_flops
from predrecon.training.interrupts import Interrupted, StopRequest
from predrecon.training.run_folder import Run

EQUAL_FLOPS = "mlm-flops"
CONDITIONS: dict[str, tuple[str, dict]] = {
    "hybrid": ("hybrid", {}),
    "mlm": ("MLM-only", {"arm": "mlm"}),
    "hybrid-sqrt": ("hybrid, tokens × √D", {"token_scale": "sqrt_dim"}),
    "mlm-sqrt": ("MLM-only, tokens × √D", {"arm": "mlm", "token_scale": "sqrt_dim"}),
    EQUAL_FLOPS: ("MLM-only, hybrid's FLOPs", {"arm": "mlm"}),
    "hybrid-lam25": ("hybrid, λ = 0.25", {"lam": 0.25}),
    "hybrid-lam50": ("hybrid, λ = 0.5", {"lam": 0.5}),
    "hybrid-lam75": ("hybrid, λ = 0.75", {"lam": 0.75}),
    "hybrid-slow": ("hybrid, λ's rate / 10", {"lam_lr": 0.1}),  # a share of the recipe's lr
}
"""`{name: (title, what differs from the recipe)}`."""

_stop = None  # in a worker: set when no other run may begin


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    condition: str
    seed: int
    recipe: Recipe

    @property
    def title(self) -> str:
        return CONDITIONS[self.condition][0]


def cells(
    base: Recipe, corpus: Corpus, seeds: Iterable[int], conditions: Iterable[str] = CONDITIONS
) -> list[Cell]:
    """All runs, seed by seed, so that an unfinished grid holds whole comparisons.

    Args:
        base: of the arm hybrid; conditions change what they name and leave the rest.

    Raises:
        ValueError: an unknown condition (the valid ones are listed).
    """
    chosen = {name: recipe_of(name, base, corpus) for name in conditions}
    return [Cell(name, seed, recipe) for seed in seeds for name, recipe in chosen.items()]


def recipe_of(condition: str, base: Recipe, corpus: Corpus) -> Recipe:
    """The recipe of a condition."""
    if condition not in CONDITIONS:
        raise ValueError(f"condition {condition!r}: expected some of {', '.join(CONDITIONS)}.")
    changes = dict(CONDITIONS[condition][1])
    if "lam_lr" in changes:
        changes["lam_lr"] *= base.lr
    if condition == EQUAL_FLOPS:
        changes["max_steps"] = steps_of_equal_flops(base, corpus)
    return dataclasses.replace(base, **changes)


def steps_of_equal_flops(base: Recipe, corpus: Corpus, *, sample: int = 64) -> int:
    """MLM-only steps that cost as many operations as the hybrid's, from `sample` batches."""
    blocks = corpus.blocks("train", base.length)
    total = {}
    for arm in ("hybrid", "mlm"):
        recipe = dataclasses.replace(base, arm=arm)
        config = model_config(recipe, corpus)
        batches = (draw_batch(recipe, corpus, blocks, 0, step) for step in range(sample))
        total[arm] = float(sum(batch_flops(config, batch) for batch in batches))
    return round(base.steps(len(blocks)) * total["hybrid"] / total["mlm"])


def train(
    asked: list[Cell],
    *,
    workers: int = 2,
    data_dir=None,
    on_done: Callable[[Cell, Run], None] | None = None,
):
    """Train what is not there yet, `workers` runs at a time, each on one thread.

    Small matrices gain little from a second thread: two runs side by side finish sooner than one
    after the other. On a GPU use one worker.

    Raises:
        Interrupted: SIGTERM or SIGINT; runs in training have written a checkpoint.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with (
        StopRequest(patient=True) as asked_to,
        ProcessPoolExecutor(workers, context, _begin, (stop,)) as pool,
    ):
        waiting = {pool.submit(_train, cell, data_dir): cell for cell in asked}
        try:
            while waiting:
                ready, _ = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                if asked_to.name:
                    raise Interrupted(
                        f"Stopped by {asked_to.name}: every run in training writes a checkpoint. "
                        "The same command goes on from there."
                    )
                for done in ready:
                    cell, run = waiting.pop(done), done.result()
                    if on_done:
                        on_done(cell, run)
        except BaseException:
            stop.set()
            for worker in multiprocessing.active_children():
                worker.terminate()  # once: a run that is asked twice ends at once
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def found(asked: list[Cell], corpus: Corpus) -> dict[Cell, Run]:
    """Those of the runs that are on disk, finished."""
    here = {cell: Run(runs.folder(cell.recipe, corpus, cell.seed)) for cell in asked}
    return {cell: run for cell, run in here.items() if (run.folder / "metrics.json").is_file()}


def _begin(stop):
    """In a worker: one thread, and signals only from the process that started it."""
    global _stop
    _stop = stop
    torch.set_num_threads(1)
    if hasattr(os, "setpgrp"):
        os.setpgrp()


def _train(cell: Cell, data_dir) -> Run:
    if _stop.is_set():
        raise Interrupted("The grid was stopped.")
    recipe = cell.recipe
    corpus = load_corpus(recipe.corpus, tokenizer=recipe.tokenizer, data_dir=data_dir)
    return runs.ensure(recipe, corpus, seed=cell.seed)
