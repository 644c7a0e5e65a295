"""pretrain(): one explicit loop for both arms, on Accelerate.

Batch, token masks and block masks of a step are functions of (seed, step), so a resumed run goes on
exactly where it was: bit for bit on a CPU.
"""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from predrecon import checkpoints
from predrecon.checkpoints import Run
from predrecon.corpus import Blocks, Corpus
from predrecon.files import write_text
from predrecon.masking import IGNORE, block_masks, token_masks
from predrecon.model import PredictReconstruct, PredictReconstructConfig
from predrecon.progress import Progress
from predrecon.recipes import Recipe
from predrecon.seeding import torch_generator

HISTORY = (
    "step tokens loss jepa_loss mlm_loss lam lr ema_momentum tokens_per_s".split()
)  # columns of history.csv


def pretrain(
    recipe: Recipe,
    corpus: Corpus,
    out_dir: str | Path,
    *,
    seed: int = 0,
    resume: bool = True,
    stop_after: int | None = None,
    on_log: Callable[[dict], None] | None = None,
) -> Run:
    """Train one arm.

    Args:
        recipe: what to train, and how.
        corpus: from `load_corpus`.
        out_dir: the run's folder. Holds recipe.json, history.csv, checkpoints/ while training; and
            weights, tokenizer and metrics.json when finished.
        seed: fixes initial weights, batches and masks.
        resume: go on from the newest checkpoint in `out_dir`. With False, a folder that already
            holds a run is refused, never overwritten.
        stop_after: leave after this many steps with a checkpoint written, as an interrupted run
            would (the schedule still spans the whole run).
        on_log: called with each history row as it is written.

    Returns:
        `Run`. With `stop_after`, one without weights and metrics yet.

    Raises:
        FileExistsError: `out_dir` holds a run and `resume` is False.
        ValueError: `out_dir` holds a run of another recipe, seed or corpus (differences listed).
        FloatingPointError: the loss is NaN or infinite.
        RuntimeError: started as one of several processes.
    """
    out_dir = Path(out_dir)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    device = accelerator.device
    if accelerator.num_processes > 1:
        raise RuntimeError(
            f"pretrain runs in one process, this is one of {accelerator.num_processes}: start it "
            "with python instead of accelerate launch or torchrun."
        )
    blocks = corpus.blocks("train", recipe.length)
    corpus.blocks("validation", recipe.length)  # too short a text shows now, not after training
    total = recipe.steps(len(blocks))
    _claim(out_dir, {"seed": seed, "corpus": corpus.fingerprint, "recipe": asdict(recipe)}, resume)
    if (out_dir / "metrics.json").is_file():
        return Run(out_dir)

    model = PredictReconstruct.build(model_config(recipe, corpus), seed)
    optimizer = torch.optim.AdamW(parameter_groups(model, recipe), lr=recipe.lr, betas=recipe.betas)
    model, optimizer = accelerator.prepare(model, optimizer)
    bare = accelerator.unwrap_model(model)
    step, rows = checkpoints.load_newest(out_dir, bare, optimizer)
    spent = rows[-1]["seconds"] if rows else 0.0
    begun = logged = time.perf_counter()
    since = step

    with Progress(f"{recipe.arm} pre-training", total, "steps") as progress:
        progress.update(step)
        while step < min(total, stop_after or total):
            lr, momentum = learning_rate(recipe, step, total), ema_momentum(recipe, step, total)
            for group in optimizer.param_groups:
                group["lr"] = lr
            batch = draw_batch(recipe, corpus, blocks, seed, step)
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
                out = model(**{name: tensor.to(device) for name, tensor in batch.items()})
            accelerator.backward(out.loss)
            optimizer.step()
            optimizer.zero_grad()
            if recipe.arm == "hybrid":
                bare.update_target(momentum)
            step += 1

            if step % recipe.log_every == 0 or step == total:
                now = time.perf_counter()
                size = recipe.batch_size * recipe.length
                row = _row(out, step, step * size, lr, momentum)
                row["tokens_per_s"] = round((step - since) * size / (now - logged))
                row["seconds"] = round(spent + now - begun, 3)
                rows.append(row)
                logged, since = now, step
                checkpoints.append_history(out_dir, row)
                progress.update(step, f"loss {row['loss']:.3f} · {row['tokens_per_s']:,} tokens/s")
                if not math.isfinite(row["loss"]):
                    raise FloatingPointError(
                        f"The loss is {row['loss']} at step {step}. The last checkpoint is in "
                        f"{out_dir / 'checkpoints'}. Try a lower lr (now {recipe.lr}) or fp32."
                    )
                if on_log:
                    on_log(row)
                logged = time.perf_counter()
            if step % recipe.checkpoint_every == 0 or step in (stop_after, total):
                before = time.perf_counter()
                checkpoints.save(out_dir, bare, optimizer, step, recipe.keep_last)
                logged += time.perf_counter() - before  # tokens/s is of steps alone

    if step == total:
        metrics = {"steps": step, "tokens": rows[-1]["tokens"], "seconds": rows[-1]["seconds"]}
        metrics |= {"device": device.type, **evaluate(bare, recipe, corpus)}
        corpus.tokenizer.save_pretrained(out_dir)
        with checkpoints.quiet_transformers():
            bare.save_pretrained(out_dir)
        write_text(
            out_dir / "metrics.json", json.dumps(metrics, indent=1)
        )  # last: the run is whole
    return Run(out_dir)


def model_config(recipe: Recipe, corpus: Corpus) -> PredictReconstructConfig:
    return PredictReconstructConfig(
        vocab_size=len(corpus.tokenizer),
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.num_layers,
        num_attention_heads=recipe.num_heads,
        mlp_ratio=recipe.mlp_ratio,
        max_position_embeddings=recipe.length,
        predictor_size=recipe.predictor_size,
        predictor_layers=recipe.predictor_layers,
        predictor_heads=recipe.predictor_heads,
        arm=recipe.arm,
        token_scale=recipe.token_scale,
        pad_token_id=corpus.tokenizer.pad_token_id,
    )


def parameter_groups(model: PredictReconstruct, recipe: Recipe) -> list[dict]:
    """Weight decay on matrices only: not on biases, norms, the mask token, nor on the balance w."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]


def learning_rate(recipe: Recipe, step: int, total: int) -> float:
    """Rate of step 0 .. total-1: linear warm-up to `recipe.lr`, then cosine towards 0."""
    if step < recipe.warmup_steps:
        return recipe.lr * (step + 1) / recipe.warmup_steps
    share = (step - recipe.warmup_steps) / max(1, total - recipe.warmup_steps)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))


def ema_momentum(recipe: Recipe, step: int, total: int) -> float:
    """m of step 0 .. total-1, linear between the two values of `recipe.ema` (Eq. 8)."""
    first, last = recipe.ema
    return first + (last - first) * step / max(1, total - 1)


def predicted_lambda(recipe: Recipe, total: int, *, lr: float | None = None) -> np.ndarray:
    """lambda from the schedule alone, `[total]`: sigma(sum of learning rates) after each step.

    Args:
        recipe: its schedule. total: steps. lr: another peak rate than the recipe's.
    """
    recipe = recipe if lr is None else replace(recipe, lr=lr)
    rates = [learning_rate(recipe, step, total) for step in range(total)]
    return 1 / (1 + np.exp(-np.cumsum(rates)))


def draw_batch(recipe: Recipe, corpus: Corpus, blocks: Blocks, seed: int, step: int) -> dict:
    """Everything the model's forward takes at a step, on the CPU."""
    return mask_batch(
        recipe, corpus, blocks.batch(blocks.order(seed, step, recipe.batch_size)), seed, step
    )


def mask_batch(recipe: Recipe, corpus: Corpus, input_ids: torch.Tensor, seed: int, step: int):
    """Token masks and, for the hybrid arm, block masks for `input_ids [B, L]`."""
    tokenizer = corpus.tokenizer
    masked, labels = token_masks(
        input_ids,
        mask_token_id=tokenizer.mask_token_id,
        vocab_size=len(tokenizer),
        special_ids=tokenizer.all_special_ids,
        probability=recipe.mlm_probability,
        generator=torch_generator(seed, "token masks", step),
    )
    batch = {"input_ids": input_ids, "masked_ids": masked, "labels": labels}
    if recipe.arm == "hybrid":
        masks = block_masks(
            len(input_ids),
            recipe.length,
            context_scale=recipe.context_scale,
            target_scale=recipe.target_scale,
            num_targets=recipe.num_targets,
            min_context=recipe.min_context,
            generator=torch_generator(seed, "block masks", step),
        )
        batch |= {"context": masks.context, "targets": masks.targets}
    return batch


@torch.no_grad()
def evaluate(model: PredictReconstruct, recipe: Recipe, corpus: Corpus) -> dict:
    """Held-out losses in nats on blocks spread over the validation text, the same for every run.

    `validation_unigram` is what a model reaches that knows word frequencies alone: the plateau
    that MLM training has to leave.
    """
    blocks = corpus.blocks("validation", recipe.length)
    chosen = np.linspace(0, len(blocks) - 1, min(len(blocks), recipe.validation_blocks)).astype(int)
    device = next(model.parameters()).device
    unigram = _unigram(corpus.blocks("train", recipe.length).stream, len(corpus.tokenizer))
    sums, masked = {"jepa": 0.0, "mlm": 0.0, "unigram": 0.0}, 0
    model.eval()
    for start in range(0, len(chosen), recipe.batch_size):
        rows = chosen[start : start + recipe.batch_size]
        batch = mask_batch(recipe, corpus, blocks.batch(rows), 0, start)
        out = model(**{name: tensor.to(device) for name, tensor in batch.items()})
        labels = batch["labels"][batch["labels"] != IGNORE]
        masked += len(labels)
        sums["mlm"] += out.mlm_loss.item() * len(labels)
        sums["unigram"] += unigram[labels].sum().item()
        sums["jepa"] += 0.0 if out.jepa_loss is None else out.jepa_loss.item() * len(rows)
    model.train()
    return {
        "validation_mlm": sums["mlm"] / max(1, masked),
        "validation_unigram": sums["unigram"] / max(1, masked),
        "validation_jepa": sums["jepa"] / len(chosen) if recipe.arm == "hybrid" else None,
        "validation_masked_tokens": masked,
    }


def _unigram(stream: np.ndarray, vocabulary: int) -> torch.Tensor:
    """-log p `[V]` of the stream's tokens, add-one smoothed, counted a chunk at a time."""
    counts = np.ones(vocabulary)
    for start in range(0, len(stream), 10_000_000):
        counts += np.bincount(stream[start : start + 10_000_000], minlength=vocabulary)
    return torch.from_numpy(-np.log(counts / counts.sum()))


def _row(out, step: int, tokens: int, lr: float, momentum: float) -> dict:
    jepa = math.nan if out.jepa_loss is None else out.jepa_loss.item()
    values = (
        step,
        tokens,
        out.loss.item(),
        jepa,
        out.mlm_loss.item(),
        out.lam.item(),
        lr,
        momentum,
    )
    return dict(zip(HISTORY, values, strict=False))


def _claim(out_dir: Path, facts: dict, resume: bool):
    """Write recipe.json, or check that the one there says the same."""
    file = out_dir / "recipe.json"
    if not file.is_file():
        out_dir.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(facts, indent=1))
        return
    if not resume:
        raise FileExistsError(
            f"{out_dir} already holds a run. Pass resume=True to go on with it, or another folder."
        )
    there, here = (_flat(f) for f in (json.loads(file.read_text()), json.loads(json.dumps(facts))))
    if differing := [k for k in here | there if here.get(k) != there.get(k)]:
        listed = "; ".join(f"{k}: {there.get(k)!r} there, {here.get(k)!r} asked" for k in differing)
        raise ValueError(f"{out_dir} holds another run ({listed}). Use another folder.")


def _flat(facts: dict) -> dict:
    return {k: v for k, v in facts.items() if k != "recipe"} | facts["recipe"]
