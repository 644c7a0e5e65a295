"""pretrain(): train one arm into a folder, or go on with what is there."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.tracking import get_available_trackers

from predrecon.data.corpus import Corpus
from predrecon.recipes import Recipe
from predrecon.training import run_folder
from predrecon.training.loop import Training
from predrecon.training.run_folder import Run


def pretrain(
    recipe: Recipe,
    corpus: Corpus,
    out_dir: str | Path,
    *,
    seed: int = 0,
    resume: bool = True,
    may_differ: tuple[str, ...] = (),
    stop_after: int | None = None,
    on_log: Callable[[dict], None] | None = None,
    tracker: str | None = None,
    shard: bool = False,
) -> Run:
    """Train one arm.

    Under `accelerate launch` with several processes each takes a part of the same global batch: the
    loss curve is that of one process.

    Args:
        recipe: what to train, and how.
        corpus: from `load_corpus`.
        out_dir: the run's folder; `run_folder` says what it holds.
        seed: fixes initial weights, batches and masks.
        resume: go on from the newest whole checkpoint in `out_dir`. With False, a folder that
            already holds a run is refused, never overwritten.
        may_differ: fields of the recipe that may differ from the run's in `out_dir`, out of
            `run_folder.MAY_DIFFER`.
        stop_after: leave after this many steps with a checkpoint written, as an interrupted run
            would (the schedule still spans the whole run).
        on_log: called with each history row as it is written.
        tracker: `"tensorboard"`, `"wandb"` or `"trackio"`: log there too, through Accelerate.
        shard: spread weights and optimiser over the processes (FSDP), for models that do not fit
            on one device. Checkpoints are the same files.

    Returns:
        `Run`. With `stop_after`, one without weights and metrics yet.

    Raises:
        FileExistsError: `out_dir` holds a run and `resume` is False.
        ValueError: `out_dir` holds a run of another recipe, seed or corpus (differences listed), or
            the batch cannot be divided among the processes, `shard` with one process, or a tracker
            that is not installed.
        PermissionError: `out_dir` cannot be written to.
        RuntimeError: another process trains in `out_dir`.
        FloatingPointError: the loss or a weight is NaN or infinite.
        OSError: a checkpoint could not be written; says what was needed.
        Interrupted: SIGTERM or SIGINT; a checkpoint has been written.
    """
    out_dir = Path(out_dir)
    if tracker and tracker not in map(str, get_available_trackers()):
        raise ValueError(f"tracker={tracker!r}: not installed. Try: pip install {tracker}")
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        log_with=tracker,
        project_dir=out_dir if tracker else None,
    )
    if accelerator.distributed_type == DistributedType.FSDP:
        raise ValueError(
            "Launched with Accelerate's FSDP plugin: launch with predrecon/launch/*.yaml instead, "
            "and add --shard (shard=True)."
        )
    world = accelerator.num_processes
    if shard and world == 1:
        raise ValueError("shard=True with one process: start several with `accelerate launch`.")
    if recipe.batch_size % world:
        raise ValueError(
            f"batch_size={recipe.batch_size} cannot be divided among {world} processes: "
            "use a multiple."
        )
    corpus.blocks("validation", recipe.length)  # too short a text shows now, not after training
    told = run_folder.facts(recipe, seed, corpus.fingerprint)
    with contextlib.ExitStack() as held:
        finished = (out_dir / "metrics.json").is_file()
        if accelerator.is_main_process:
            if not finished:
                run_folder.writable(out_dir)
                held.enter_context(run_folder.alone(out_dir))
            run_folder.claim(out_dir, told, resume, may_differ)
        if not finished:
            training = Training(recipe, corpus, out_dir, seed, told, accelerator, shard)
            training.run(stop_after, on_log if accelerator.is_main_process else None, tracker)
    return Run(out_dir)
