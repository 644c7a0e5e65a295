"""The loop: one explicit step after another, on Accelerate, in one process or several.

Batch, token masks and block masks of a step are functions of (seed, step), so a resumed run goes on
exactly where it was, bit for bit on a CPU; and each of several processes takes its rows of the same
batch. Nothing in the loop waits for a GPU but a log line and a checkpoint.
"""

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from predrecon.data.files import remove_unfinished, write_text
from predrecon.data.progress import Progress
from predrecon.objectives import ema_momentum, learning_rate
from predrecon.training import checkpoints, machine, outcome, run_folder, sharding
from predrecon.training.assembly import build_model, build_optimizer
from predrecon.training.batches import draw_batch, room_for, share_of
from predrecon.training.flops import batch_flops
from predrecon.training.heldout import evaluate
from predrecon.training.interrupts import Interrupted, StopRequest

HISTORY = (
    "step tokens loss jepa_loss mlm_loss lam lr ema_momentum tokens_per_s seconds flops".split()
)  # columns of history.csv


@dataclass
class Spent:
    """What a run has cost so far, over all its starts; kept in every checkpoint."""

    seconds: float = 0.0
    flops: float | torch.Tensor = 0.0  # counted on the device, read when it is written down


class Training:
    """The state of a run in progress: model, optimiser, step, cost."""

    def __init__(self, recipe, corpus, out_dir: Path, seed, told: dict, accelerator, shard: bool):
        self.recipe, self.corpus, self.out_dir, self.seed = recipe, corpus, out_dir, seed
        self.told, self.accelerator, self.device = told, accelerator, accelerator.device
        self.blocks = corpus.blocks("train", recipe.length)
        self.total = recipe.steps(len(self.blocks))
        self.snapshots = outcome.snapshot_steps(recipe, self.total)
        self.bf16 = machine.precision(recipe.precision, self.device, recipe.hidden_size) == "bf16"
        bare = build_model(recipe, corpus, seed)
        if machine.compiles(recipe.compile, self.device):
            bare.compile_blocks()
        self.sharded = shard
        if shard:
            sharding.shard(bare, self.device)  # moves each process's part only
            self.model, self.optimizer = bare, accelerator.prepare(build_optimizer(bare, recipe))
        else:
            self.model, self.optimizer = accelerator.prepare(bare, build_optimizer(bare, recipe))
        self.bare = accelerator.unwrap_model(self.model)
        self.room, self.spent = room_for(recipe, accelerator.num_processes, self.device), Spent()

    def run(self, stop_after: int | None, on_log, tracker: str | None):
        accelerator, main = self.accelerator, self.accelerator.is_main_process
        step = self._resume()
        if main:
            described = machine.environment(self.device, accelerator.num_processes)
            described |= {"precision": "bf16" if self.bf16 else "fp32", "sharded": self.sharded}
            write_text(self.out_dir / "environment.json", json.dumps(described, indent=1))
        if tracker:
            accelerator.init_trackers("predrecon", config=run_folder.flat(self.told))
        end = min(self.total, stop_after or self.total)
        with (
            StopRequest(patient=accelerator.num_processes > 1) as stop,
            Progress(f"{self.recipe.arm} pre-training", self.total, "steps", quiet=not main) as bar,
        ):
            bar.update(step)
            step = self._loop(step, end, stop, bar, on_log)
        if tracker:
            accelerator.end_training()
        if step == self.total:
            self._finish()
        accelerator.wait_for_everyone()

    def _loop(self, step: int, end: int, stop: StopRequest, bar: Progress, on_log) -> int:
        recipe = self.recipe
        size = recipe.batch_size * recipe.length
        begun = logged = saved = time.perf_counter()
        before, since = self.spent.seconds, step
        while step < end:
            out, lr, momentum = self._step(step)
            step += 1
            if step % recipe.log_every == 0 or step == self.total:
                values = self._values(out)
                now = time.perf_counter()
                self.spent.seconds = before + now - begun
                speed = round((step - since) * size / (now - logged))
                row = [step, self._tokens(step), *values, lr, momentum, speed]
                row += [round(self.spent.seconds, 3), float(self.spent.flops)]
                self._log(dict(zip(HISTORY, row, strict=True)), bar, on_log)
                since, logged = step, time.perf_counter()
            if step in self.snapshots:
                passed = self._snapshot(step)
                begun, logged = begun + passed, logged + passed
            asked, late = self._heed(step, stop, saved)
            if asked or late or step % recipe.checkpoint_every == 0 or step == end:
                pause = time.perf_counter()
                self.spent.seconds = before + pause - begun
                self._save(step)
                saved = time.perf_counter()
                logged += saved - pause  # tokens/s is of steps alone
            if asked and step < self.total:
                raise Interrupted(
                    f"Stopped by {stop.name or 'a signal'} at step {step} of {self.total}, with a "
                    f"checkpoint in {self.out_dir / 'checkpoints'}. The same call or command goes "
                    "on from there."
                )
        return step

    def _step(self, step: int):
        """One optimiser step; leaves everything on the device."""
        recipe, accelerator = self.recipe, self.accelerator
        lr, momentum = (f(recipe, step, self.total) for f in (learning_rate, ema_momentum))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step, self.total, peak=group["peak"])
        whole = draw_batch(recipe, self.corpus, self.blocks, self.seed, step, self.device)
        batch = share_of(whole, accelerator.process_index, accelerator.num_processes, self.room)
        self.spent.flops += batch_flops(self.bare.config, whole)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            out = self.model(**batch)
        accelerator.backward(out.loss)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if recipe.arm == "hybrid":
            self.bare.update_target(momentum)
        return out, lr, momentum

    def _values(self, out) -> list[float]:
        """`[loss, jepa, mlm, lam]` of the whole batch."""
        jepa = torch.full_like(out.loss, math.nan) if out.jepa_loss is None else out.jepa_loss
        values = torch.stack([out.loss, jepa, out.mlm_loss, out.lam]).detach()
        if self.accelerator.num_processes > 1:
            values = self.accelerator.reduce(values, "mean")
        return values.tolist()

    def _heed(self, step: int, stop: StopRequest, saved: float) -> tuple[bool, bool]:
        """Whether to stop, and whether the clock asks for a checkpoint.

        Several processes ask each other every tenth step, so that all hear the same.
        """
        minutes, several = self.recipe.checkpoint_minutes, self.accelerator.num_processes > 1
        late = bool(minutes) and time.perf_counter() - saved >= 60 * minutes
        if several and step % 10:
            return False, False
        told = [float(bool(stop.name)), float(late)]
        if several:
            told = self.accelerator.reduce(torch.tensor(told, device=self.device), "sum").tolist()
        return told[0] > 0, told[1] > 0

    def _log(self, row: dict, bar: Progress, on_log):
        if self.accelerator.is_main_process:
            run_folder.append_history(self.out_dir, row)
            bar.update(row["step"], f"loss {row['loss']:.3f} · {row['tokens_per_s']:,} tokens/s")
        if self.accelerator.trackers:
            self.accelerator.log({k: v for k, v in row.items() if k != "step"}, step=row["step"])
        if not math.isfinite(row["loss"]):
            raise outcome.diverged(
                self.out_dir, self.recipe, row["step"], f"The loss is {row['loss']}"
            )
        if on_log:
            on_log(row)

    def _save(self, step: int):
        state = checkpoints.state(self.bare, self.optimizer)
        if not all(norm.isfinite() for norm in torch._foreach_norm(list(state[0].values()))):
            raise outcome.diverged(self.out_dir, self.recipe, step, "A weight is NaN or infinite")
        if self.accelerator.is_main_process:
            cost = {"seconds": self.spent.seconds, "flops": float(self.spent.flops)}
            facts = self.told | {"spent": cost}
            run_folder.sync_history(self.out_dir)
            checkpoints.save(self.out_dir, state, step, self.recipe.keep_last, facts)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> int:
        """Restore the newest whole checkpoint; returns the step to go on from."""
        main = self.accelerator.is_main_process
        if main:
            remove_unfinished(self.out_dir / "checkpoints", "step-*")
        self.accelerator.wait_for_everyone()
        folder = checkpoints.load_newest(self.out_dir, self.bare, self.optimizer)
        step = checkpoints.step_of(folder) if folder else 0
        if main:
            run_folder.cut_history(self.out_dir, step, self.recipe.log_every)
        if folder:
            self.spent = Spent(**checkpoints.read_facts(folder)["spent"])
            if main and step < self.total:
                print(f"Going on from {self.out_dir.name}/checkpoints/{folder.name}.")
        return step

    def _finish(self):
        seconds, devices = self.spent.seconds, self.accelerator.num_processes
        cost = {"steps": self.total, "tokens": self._tokens(self.total)}
        cost |= {"seconds": round(seconds, 3), "device_seconds": round(seconds * devices, 3)}
        cost |= {"flops": float(self.spent.flops), "device": self.device.type}
        model, losses = self._measured()
        if self.accelerator.is_main_process:
            outcome.write_finished(self.out_dir, model, self.corpus, cost | losses)

    def _snapshot(self, step: int) -> float:
        """Keep the encoder of this step; returns the seconds that it took."""
        began = time.perf_counter()
        cost = {"step": step, "tokens": self._tokens(step), "flops": float(self.spent.flops)}
        model, losses = self._measured()
        if self.accelerator.is_main_process:
            outcome.write_snapshot(self.out_dir, model, cost | losses)
        self.accelerator.wait_for_everyone()
        return time.perf_counter() - began

    def _measured(self):
        """The model, whole, and in the first process its held-out losses."""
        model, here = self.bare, self.accelerator.is_main_process or self.sharded
        losses = evaluate(model, self.recipe, self.corpus) if here else {}
        if self.sharded:
            weights = sharding.gathered(model.state_dict())
            model = build_model(self.recipe, self.corpus, self.seed)
            model.load_state_dict(weights)
        return model, losses

    def _tokens(self, steps: int) -> int:
        return steps * self.recipe.batch_size * self.recipe.length
