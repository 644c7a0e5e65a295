"""pretrain(): train one arm, step by step, with Accelerate, in one process or several.

Batch, token masks and block masks of a step are functions of (seed, step). So a resumed run
continues exactly where it was, bit for bit on a CPU, and each of several processes takes its rows
of the same batch. Only log lines, snapshots and checkpoints wait for a GPU.
"""

import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate.tracking import get_available_trackers
from accelerate.utils import broadcast_object_list
from filelock import FileLock
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from predrecon.data import paths
from predrecon.data.corpus import Corpus
from predrecon.data.files import remove_unfinished, sync, write_text
from predrecon.data.progress import Progress
from predrecon.masking import check_room
from predrecon.model import Block
from predrecon.objectives import ema_momentum, learning_rate
from predrecon.recipes import Recipe, read
from predrecon.training import checkpoints, heldout, initial, machine, monitor, run_folder
from predrecon.training.batches import draw_batch, room_for, share_of
from predrecon.training.flops import batch_flops
from predrecon.training.heldout import evaluate, learned
from predrecon.training.machine import Interrupted, StopRequest
from predrecon.training.optimizer import build_model, build_optimizer
from predrecon.training.run_folder import Run

VALUES = ("loss", "jepa_loss", "mlm_loss", "lam")
VALUES += ("jepa_gradient", "mlm_gradient", "gradient_cosine")
"""Columns of history.csv from the model: losses, lambda, `objectives.shared_gradients`."""

UNSEEN = dict.fromkeys(monitor.COLUMNS, math.nan) | {"state": ""}
"""The columns of `training.monitor` in a row for which it measured nothing."""


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
    """Train one arm into a folder, or continue the run that is there.

    Under `accelerate launch` with several processes each takes a part of the same global batch: the
    loss curve is that of one process.

    Args:
        recipe, corpus: what to train, and on what. If the recipe begins from weights,
            `training.initial.fitted` sets shape and tokenizer; it is applied here if it was not.
        out_dir: the run's folder; `run_folder` says what it holds.
        seed: fixes initial weights, batches and masks.
        resume: continue from the newest intact checkpoint in `out_dir`. With False, a folder that
            already holds a run is refused, never overwritten.
        may_differ: fields of `run_folder.MAY_DIFFER` that may differ from the run there.
        stop_after: leave with a checkpoint after this step, as an interrupted run would.
        on_log: called with each history row as it is written.
        tracker: `"tensorboard"`, `"wandb"` or `"trackio"`: log there too, through Accelerate.
        shard: spread weights and optimiser state over the processes (FSDP), for models that do not
            fit on one device; the paper's would fit sixty times, and DDP is faster. Checkpoints are
            the same files.

    Returns:
        `Run`. With `stop_after`, one without weights and metrics yet.

    Raises:
        FileExistsError: `out_dir` holds a run and `resume` is False.
        ValueError: `out_dir` holds a run of another recipe, seed or corpus (differences listed), or
            the batch cannot be divided among the processes, `shard` with one process or with Muon,
            a tracker that is not installed, or a launcher's plugin that overrides the recipe; or
            `init` names weights that do not fit recipe or tokenizer, or none.
        PermissionError: `out_dir` cannot be written to.
        RuntimeError: another process is training in `out_dir`.
        FloatingPointError: the loss or a weight is NaN or infinite.
        RuntimeError: the monitor raised an alarm twice, and `on_collapse` is stop.
        OSError: a checkpoint could not be written; says what was needed.
        Interrupted: SIGTERM or SIGINT; a checkpoint has been written.
    """
    out_dir, seed, recipe = Path(out_dir), read("seed", seed), initial.fitted(recipe)
    if tracker and tracker not in map(str, get_available_trackers()):
        raise ValueError(f"tracker={tracker!r}: not installed. Try: pip install {tracker}")
    folder = out_dir if tracker else None
    accelerator = machine.accelerator(log_with=tracker, project_dir=folder)
    world = accelerator.num_processes
    if shard and world == 1:
        raise ValueError("shard=True with one process: start several with `accelerate launch`.")
    if shard and recipe.optimizer == "muon":
        raise ValueError(
            "shard=True with optimizer='muon': Muon needs whole matrices, FSDP spreads them. Use "
            "optimizer='adamw', or several processes without sharding."
        )
    if shard and recipe.balance == "equal-gradients":
        raise ValueError(
            "shard=True with balance='equal-gradients': it needs the last layer's whole gradient. "
            "Use several processes without sharding, or another balance."
        )
    if shard and recipe.on_collapse != "continue":
        raise ValueError(
            f"shard=True with on_collapse={recipe.on_collapse!r}: the monitor needs whole layers, "
            "FSDP spreads them. Use several processes without sharding, or on_collapse='continue'."
        )
    if recipe.batch_size % world:
        raise ValueError(
            f"batch_size={recipe.batch_size} cannot be divided among {world} processes: "
            "use a multiple."
        )
    for split in ("train", "validation"):
        corpus.blocks(split, recipe.length)  # too short a text fails now, not after training
    if recipe.arm == "hybrid":
        disjoint = 1 if recipe.mask == "block" else recipe.num_targets  # targets never overlap
        check_room(
            recipe.length,
            recipe.context_scale,
            recipe.target_scale,
            recipe.min_context,
            num_targets=disjoint,
        )
    heldout.check(recipe, corpus)
    facts = {"seed": seed, "corpus": corpus.fingerprint, "recipe": dataclasses.asdict(recipe)}
    source = None
    if recipe.init and accelerator.is_main_process and not (out_dir / initial.FOLDER).is_dir():
        source = initial.open_source(recipe, corpus, seed)  # before anything is written
    with contextlib.ExitStack() as locks:
        finished = (out_dir / "metrics.json").is_file()
        if accelerator.is_main_process:
            if not finished:
                locks.enter_context(run_folder.lock(out_dir))
            run_folder.claim(out_dir, facts, resume, may_differ)
            if source is not None:
                initial.keep(out_dir, source, recipe, corpus)
        if recipe.init:
            accelerator.wait_for_everyone()
        if not finished:
            training = Training(recipe, corpus, out_dir, facts, accelerator, shard)
            training.run(stop_after, on_log if accelerator.is_main_process else None, tracker)
    return Run(out_dir)


def ensure(
    recipe: Recipe, corpus: Corpus, *, seed: int = 0, on_log: Callable[[dict], None] | None = None
) -> Run:
    """The finished run of this recipe, corpus and seed: opened, resumed or trained.

    A second process that asks for the same run waits for the first and opens its result.
    """
    recipe = initial.fitted(recipe)
    out_dir = run_folder.folder_of(recipe, corpus, seed)
    lock = contextlib.nullcontext()
    if not Run(out_dir).finished:
        runs = paths.runs_dir(write=True)
        if int(os.environ.get("WORLD_SIZE", 1)) == 1:  # several processes train one run
            lock = FileLock(runs / f".{out_dir.name}.lock")
    with lock:
        return pretrain(
            recipe, corpus, out_dir, seed=seed, on_log=on_log, may_differ=run_folder.BOOKKEEPING
        )


def ensure_arms(recipe: Recipe, arms: list[str], corpus: Corpus, *, seed: int = 0):
    """`{arm: run}` of one recipe and seed: each opened, resumed or trained."""
    return {arm: ensure(dataclasses.replace(recipe, arm=arm), corpus, seed=seed) for arm in arms}


def every_seed(recipe: Recipe, arms: list[str], corpus: Corpus, *, seed: int = 0):
    """`{arm: runs}`: the run of `seed`, trained if needed, and those of all other seeds on disk."""
    recipe = initial.fitted(recipe)
    ensure_arms(recipe, arms, corpus, seed=seed)
    recipes = {arm: dataclasses.replace(recipe, arm=arm) for arm in arms}
    return {arm: run_folder.finished_runs(recipes[arm], corpus) for arm in arms}


class Training:
    """A run in progress: model, optimiser, and what it has cost over all its starts."""

    def __init__(self, recipe, corpus, out_dir: Path, facts: dict, accelerator, shard: bool):
        self.recipe, self.corpus, self.out_dir, self.facts = recipe, corpus, out_dir, facts
        self.accelerator, self.device = accelerator, accelerator.device
        self.main, self.processes = accelerator.is_main_process, accelerator.num_processes
        self.blocks = corpus.blocks("train", recipe.length)
        self.total = recipe.steps(len(self.blocks))
        self.snapshots = run_folder.snapshot_steps(recipe, self.total)
        self.bf16 = machine.precision(recipe.precision, self.device, recipe.hidden_size) == "bf16"
        self.room = room_for(recipe, self.processes, self.device)
        # cuDNN plans attention again for every shape, on the host: four times slower for the
        # hybrid, whose context and targets change their lengths from step to step
        torch.backends.cuda.enable_cudnn_sdp(recipe.arm == "mlm")
        self.bare = self._build()  # without the DDP wrapper
        self.compiled = machine.compiles(recipe.compile, self.device)
        if self.compiled:
            self.bare.compile_blocks()
        self.sharded = shard
        if shard:
            mesh = init_device_mesh(self.device.type, (self.processes,))
            blocks = [module for module in self.bare.modules() if isinstance(module, Block)]
            for module in [*blocks, self.bare]:  # a block is gathered while it computes
                fully_shard(module, mesh=mesh)
        self.model = self.bare if shard else accelerator.prepare(self.bare)
        self.optimizer = accelerator.prepare(build_optimizer(self.bare, recipe))
        self.seconds, self.flops = 0.0, 0.0  # operations are counted on the device
        self.learned = ""  # nats below word frequencies, as last measured
        self.changed = {}  # what `on_collapse` changed: `step, seen, to`

    def _build(self):
        """The model as it begins, on the CPU."""
        begin = initial.load(self.out_dir) if self.recipe.init else None
        return build_model(self.recipe, self.corpus, self.facts["seed"], begin)

    def run(self, stop_after: int | None, on_log: Callable | None, tracker: str | None):
        step = self._resume()
        recipe = self.recipe
        if self.sharded:  # FSDP has no whole layer to look at
            recipe = dataclasses.replace(recipe, monitor_every=0)
        seen = run_folder.looks(self.out_dir, step)
        logged = step - step % recipe.log_every  # the last step at which it could measure
        self.monitor = monitor.Monitor(recipe, self.corpus, self.device, logged, seen)
        if self.main:
            environment = machine.environment(self.device, self.processes)
            environment |= {"precision": "bf16" if self.bf16 else "fp32"}
            environment |= {"compiled": self.compiled, "sharded": self.sharded}
            write_text(self.out_dir / "environment.json", json.dumps(environment, indent=1))
        if tracker:
            self.accelerator.init_trackers("predrecon", config=run_folder.flatten(self.facts))
        label, end = f"{self.recipe.arm} pre-training", min(self.total, stop_after or self.total)
        bar = Progress(label, self.total, "steps", quiet=not self.main)
        with StopRequest(patient=self.processes > 1) as stop, bar:
            bar.update(step)
            step = self._loop(step, end, stop, bar, on_log)
            if step == self.total:
                self._finish(bar)
        if tracker:
            self.accelerator.end_training()
        self.accelerator.wait_for_everyone()

    def _loop(self, step: int, end: int, stop: StopRequest, bar: Progress, on_log) -> int:
        logged_step = step
        logged = saved = time.perf_counter()
        start = logged - self.seconds
        while step < end:
            out, schedule = self._step(step)
            step += 1
            if self._logs(step):
                row = {"step": step, "tokens": self._tokens(step), **self._values(out), **schedule}
                now = time.perf_counter()
                self.seconds = now - start
                rate = self._tokens(step - logged_step) / (now - logged)
                row |= {"tokens_per_s": round(rate), "seconds": round(self.seconds, 3)}
                row |= {"flops": float(self.flops)} | self._look(step)
                self._log(row, bar, on_log)
                self._act(step)
                logged_step, logged = step, time.perf_counter()
            if step in self.snapshots:
                pause = self._snapshot(step)
                start, logged = start + pause, logged + pause
            stopping, late = self._requests(step, stop, saved)
            if stopping or step == end or self._saves(step, late):
                pause = time.perf_counter()
                self.seconds = pause - start
                self._save(step)
                saved = time.perf_counter()
                logged += saved - pause  # tokens/s counts steps only
            if stopping and step < self.total:
                raise Interrupted(
                    f"Stopped by {stop.name or 'a signal'} at step {step} of {self.total}, with a "
                    f"checkpoint in {self.out_dir / 'checkpoints'}. The same call or command "
                    "continues from there."
                )
        return step

    def _step(self, step: int) -> tuple:
        """One optimiser step, without waiting for the device; returns losses and schedule."""
        lr = learning_rate(self.recipe, step, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, step, self.total, peak=group["peak"])
        momentum = ema_momentum(self.recipe, step, self.total)
        batch = self._draw(step)  # text, token masks, block masks: this process's rows
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            measure = self._logs(step + 1) and not self.sharded  # FSDP has no whole layer
            out = self.model(**batch, progress=step / self.total, measure=measure)
        self.accelerator.backward(out.loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.recipe.arm == "hybrid":
            self.bare.update_target(momentum)  # moving average, Eq. 8
        return out, {"lr": lr, "ema_momentum": momentum}

    def _logs(self, step: int) -> bool:
        """Whether history.csv has a row of this step."""
        return step % self.recipe.log_every == 0 or step == self.total

    def _draw(self, step: int) -> dict:
        """This process's rows of the step's batch, whose operations are counted."""
        seed, rank = self.facts["seed"], self.accelerator.process_index
        batch = draw_batch(self.recipe, self.corpus, self.blocks, seed, step, self.device)
        self.flops += batch_flops(self.bare.config, batch)
        return share_of(batch, rank, self.processes, self.room)

    def _values(self, out) -> dict[str, float]:
        """Losses and lambda of the whole batch; this waits for the device."""
        nan = torch.full_like(out.loss, math.nan)
        jepa = nan if out.jepa_loss is None else out.jepa_loss
        gradients = nan.expand(3) if out.gradients is None else out.gradients
        losses = torch.stack([out.loss, jepa, out.mlm_loss, out.lam])
        values = torch.cat([losses, gradients]).detach()
        if self.processes > 1:
            values = self.accelerator.reduce(values, "mean")
        return dict(zip(VALUES, values.tolist(), strict=True))

    def _look(self, step: int) -> dict:
        """The monitor's columns of a logged step; all processes take those of the first one."""
        if not self.monitor.is_due(step):
            return UNSEEN
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            row = self.monitor.look(self.bare, step / self.total)
        if self.processes > 1:
            (row,) = broadcast_object_list([row])
            self.monitor.seen[-1] = row["nats"], row["state"]
        return row

    def _act(self, step: int):
        """Do what `on_collapse` says after two alarms in a row, once."""
        wanted, state = self.recipe.on_collapse, self.monitor.alarm
        if not state or wanted == "continue" or self.changed:
            return
        if wanted == "stop":
            raise run_folder.collapse(self.out_dir, self.recipe, step, state)
        self._change({"step": step, "seen": state, "to": wanted})

    def _change(self, changed: dict):
        """Continue with another latent loss or with MLM alone."""
        self.changed = changed
        if changed.get("to") == "mlm":
            self.bare.balance.only_mlm = True
        elif changed:
            self.bare.config.latent_loss = changed["to"]

    def _saves(self, step: int, late: bool) -> bool:
        """Whether to write a checkpoint; with on_collapse="stop" whenever a look sees no alarm."""
        if self.recipe.on_collapse == "stop":
            return self.monitor.looked == step and self.monitor.state not in monitor.ALARMS
        return late or step % self.recipe.checkpoint_every == 0

    def _requests(self, step: int, stop: StopRequest, saved: float) -> tuple[bool, bool]:
        """Whether to stop (a signal) and to save (the clock); processes agree every tenth step."""
        minutes = self.recipe.checkpoint_minutes
        late = bool(minutes) and time.perf_counter() - saved >= 60 * minutes
        if self.processes == 1:
            return bool(stop.name), late
        if step % 10:
            return False, False
        flags = torch.tensor([float(bool(stop.name)), float(late)], device=self.device)
        return tuple(self.accelerator.reduce(flags, "sum").bool().tolist())

    def _log(self, row: dict, bar: Progress, on_log):
        if self.main:
            run_folder.append_history(self.out_dir, row)
            note = f"loss {row['loss']:.3f} · {row['tokens_per_s']:,} tokens/s"
            alarm = self.monitor.state if self.monitor.state in monitor.ALARMS else ""
            notes = filter(None, (note, self.learned.split(":")[0], alarm))
            bar.update(row["step"], " · ".join(notes))
        if self.accelerator.trackers:
            self.accelerator.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])
        if not math.isfinite(row["loss"]):
            fault = f"The loss is {row['loss']}"
            raise run_folder.divergence(self.out_dir, self.recipe, row["step"], fault)
        if on_log:
            on_log(row)

    def _save(self, step: int):
        state = checkpoints.gather_state(self.bare, self.optimizer)
        if not all(norm.isfinite() for norm in torch._foreach_norm(list(state[0].values()))):
            fault = "A weight is NaN or infinite"
            raise run_folder.divergence(self.out_dir, self.recipe, step, fault)
        if self.main:
            if (self.out_dir / "history.csv").is_file():
                sync(self.out_dir / "history.csv")
            spent = {"seconds": self.seconds, "flops": float(self.flops), "changed": self.changed}
            facts = {**self.facts, "spent": spent}
            checkpoints.save(self.out_dir, state, step, self.recipe.keep_last, facts)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        """Restore the newest intact checkpoint; returns the step to continue from."""
        if self.main:
            remove_unfinished(self.out_dir / "checkpoints", "step-*")
        self.accelerator.wait_for_everyone()
        folder = checkpoints.load_newest(self.out_dir, self.bare, self.optimizer)
        step = checkpoints.step_of(folder) if folder else 0
        if self.main:
            run_folder.cut_history(self.out_dir, step, self.recipe.log_every)
        if folder:
            spent = checkpoints.read_facts(folder)["spent"]
            self.seconds, self.flops = spent["seconds"], spent["flops"]
            self._change(spent.get("changed", {}))
            if self.main and step < self.total:
                print(f"Continuing from {self.out_dir.name}/checkpoints/{folder.name}.")
        return step

    def _finish(self, bar: Progress):
        cost = {"steps": self.total, "tokens": self._tokens(self.total)}
        cost |= {"seconds": round(self.seconds, 3)}
        cost |= {"device_seconds": round(self.seconds * self.processes, 3)}
        cost |= {"flops": float(self.flops), "device": self.device.type}
        cost |= {"state": self.monitor.state}
        if self.changed:
            cost |= {"changed": "to {to} at step {step}: {seen}".format(**self.changed)}
        model, losses = self._measured()
        if self.main:
            run_folder.save_finished(self.out_dir, model, self.corpus, cost | losses)
            bar.update(
                self.total, f"{self._tokens(self.total) / 1e6:.3g} M tokens · {self.learned}"
            )

    def _snapshot(self, step: int) -> float:
        """Keep the encoder of this step; returns the seconds that it took."""
        start = time.perf_counter()
        cost = {"step": step, "tokens": self._tokens(step), "flops": float(self.flops)}
        model, losses = self._measured()
        if self.main:
            run_folder.save_snapshot(self.out_dir, model, cost | losses)
        self.accelerator.wait_for_everyone()
        return time.perf_counter() - start

    def _measured(self):
        """The unsharded model and, in the first process, its held-out losses."""
        losses = {}
        if self.main or self.sharded:  # a sharded model computes in all processes or in none
            losses = evaluate(self.bare, self.recipe, self.corpus)
            self.learned = learned(losses)
        if not self.sharded:
            return self.bare, losses
        model = self._build()
        model.load_state_dict(checkpoints.gather(self.bare.state_dict()))
        return model, losses

    def _tokens(self, steps: int) -> int:
        return steps * self.recipe.batch_size * self.recipe.length
