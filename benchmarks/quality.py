"""Time to quality: seconds of training until the held-out loss reaches a level.

Quality is nats below word frequencies on held-out masked blocks of the embedded text, the same for
all (`heldout.evaluate`). Contestants are the demo recipes, and transformers' BERT and ModernBERT
with the width, layers, heads, MLP width, blocks, batch and warm-up of `demo`, trained by
transformers' own Trainer at several learning rates; this search is not counted. All schedules span
the same seconds, and the clock stops for evaluation.
"""

import dataclasses
import itertools
import json
import math
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import pandas as pd
import torch
import transformers
from measure import result_name, seconds

from predrecon import recipes
from predrecon.data.corpus import load_corpus
from predrecon.model import PretrainingOutput
from predrecon.training import machine
from predrecon.training.batches import draw_batch, share_of
from predrecon.training.heldout import below_unigram, evaluate
from predrecon.training.loop import pretrain
from predrecon.training.optimizer import build_model

LEVELS = (0.5, 1.0, 1.5)  # nats below word frequencies
OURS = (("demo", "mlm"), ("demo", "hybrid"), ("demo-published", "mlm"))
THEIRS = {"BertForMaskedLM": (3e-4, 1e-3, 3e-3), "ModernBertForMaskedLM": (1e-3, 3e-3, 1e-2)}
MASKED = {"BertForMaskedLM": 0.15, "ModernBertForMaskedLM": 0.3}  # as in their papers
PROBE = 20  # steps timed after as many for warm-up, to find how many fit into the seconds


def quality(args) -> list[dict]:
    """A row for each contestant and rate, one of ratios, one of bare steps; writes the curves."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    corpus, points, budget, probe = load_corpus("docstrings"), 50, args.seconds, PROBE
    small, rounds = {}, 30
    if args.tiny:
        points, budget, probe, rounds = 2, 0.2, 2, 2
        small = {"hidden_size": 32, "num_heads": 2, "batch_size": 4, "validation_blocks": 32}
    ours = [recipes.get(preset, arm=arm, **small) for preset, arm in OURS]
    contestants = [(f"{r.preset} {r.arm}", r.lr, partial(_ours, r)) for r in ours]
    for name, rates in THEIRS.items():
        for rate in rates[:1] if args.tiny else rates:
            contestants.append((name, rate, partial(_theirs, name, rate, ours[0])))
    rows, curves, size = [], [], ours[0].batch_size * ours[0].length
    for name, rate, train in contestants:
        (_, early, _), (_, late, _) = train(corpus, 2 * probe, 2, 0)
        steps = points * max(1, round(budget * probe / (late - early) / points))
        runs = [_curve(train(corpus, steps, points, seed), corpus) for seed in range(args.seeds)]
        about = {"contestant": name, "lr": rate}
        curves += [about | {"seed": n} | point for n, run in enumerate(runs) for point in run]
        spent = statistics.median(run[-1]["seconds"] for run in runs)
        row = {"measure": f"time to quality, {name}, lr {rate:g}", **about, "seeds": args.seeds}
        row |= {"seconds": round(spent, 1), "steps": steps, "tokens/s": round(steps * size / spent)}
        for level in LEVELS:
            row[_to(level)] = statistics.median(crossing(run, level) for run in runs)
        rows.append(row | {"last nats": round(statistics.median(r[-1]["nats"] for r in runs), 3)})
        print(rows[-1], file=sys.stderr, flush=True)  # minutes apart
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / f"{result_name(args.tiny, device)}-quality.csv"
    pd.DataFrame(curves).round(4).to_csv(file, index=False)
    ratios = {"measure": "time to quality, faster of transformers' two over ours"}
    ratios |= {"seeds": args.seeds, **_ratios(rows)}
    for row, level in itertools.product(rows, LEVELS):
        reached = row[_to(level)] < math.inf
        row[_to(level)] = round(row[_to(level)], 2) if reached else None
    return [*rows, ratios, _bare_steps(ours[0], corpus, device, rounds)]


def crossing(curve: list[dict], level: float) -> float:
    """Seconds at the first crossing, between two points of the curve; infinite without one."""
    for a, b in itertools.pairwise(curve):
        if a["nats"] < level <= b["nats"]:
            share = (level - a["nats"]) / (b["nats"] - a["nats"])
            return a["seconds"] + share * (b["seconds"] - a["seconds"])
    return math.inf


def _curve(measured: list[tuple], corpus) -> list[dict]:
    """Steps, seconds and nats below word frequencies, starting from a uniform guess."""
    untrained = measured[0][2] | {"validation_mlm": math.log(len(corpus.tokenizer))}
    return [
        {"step": step, "seconds": spent, "nats": below_unigram(losses)}
        for step, spent, losses in [(0, 0.0, untrained), *measured]
    ]


def _ratios(rows: list[dict]) -> dict:
    """Ratios of seconds to each level: "> x" if transformers' never got there, None if ours."""
    theirs, ratios = [row for row in rows if row["contestant"] in THEIRS], {}
    for row, level in itertools.product((row for row in rows if row not in theirs), LEVELS):
        name, mine = f"{row['contestant']}, {level} nats", row[_to(level)]
        best = min(other[_to(level)] for other in theirs)
        longer = f"> {min(other['seconds'] for other in theirs) / mine:.2f}"
        ratios[name] = round(best / mine, 2) if best < math.inf else longer
        ratios[name] = ratios[name] if mine < math.inf else None
    return ratios


def _to(level: float) -> str:
    return f"s to {level} nats"


def _ours(recipe, corpus, steps: int, points: int, seed: int) -> list[tuple]:
    """`pretrain` over `steps`: step, seconds and held-out losses at `points` of them."""
    often = {"log_every": steps // points, "snapshots": points, "checkpoint_every": 10**9}
    recipe = dataclasses.replace(recipe, max_steps=steps, **often)
    with tempfile.TemporaryDirectory() as folder:
        run = pretrain(recipe, corpus, Path(folder) / "run", seed=seed)
        spent = run.history.set_index("step")["seconds"]
        losses = [json.loads((f / "metrics.json").read_text("utf-8")) for f in run.snapshots]
    return [(at["step"], float(spent[at["step"]]), at) for at in losses]


def _theirs(name, rate, recipe, corpus, steps: int, points: int, seed: int) -> list[tuple]:
    """The same of transformers' model under its Trainer."""
    torch.manual_seed(seed)
    model, cuda = _model(name, recipe, corpus.tokenizer), torch.cuda.is_available()
    device, blocks = torch.device("cuda" if cuda else "cpu"), corpus.blocks("train", recipe.length)
    bf16 = machine.precision(recipe.precision, device, recipe.hidden_size) == "bf16"
    held_out = _HeldOut(model, recipe, corpus, steps // points)
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            folder, seed=seed, max_steps=steps, per_device_train_batch_size=recipe.batch_size,
            learning_rate=rate, lr_scheduler_type="cosine", warmup_steps=recipe.warmup_steps,
            weight_decay=0.01, adam_beta2=0.98, optim="adamw_torch_fused", bf16=bf16,
            torch_compile=machine.compiles(recipe.compile, device), use_cpu=not cuda,
            dataloader_num_workers=0, dataloader_drop_last=True, dataloader_pin_memory=cuda,
            remove_unused_columns=False, save_strategy="no", logging_strategy="no",
            logging_nan_inf_filter=False, report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model, arguments, callbacks=[held_out],
            train_dataset=list(blocks.batch(range(len(blocks)))),  # rows collate faster than dicts
            data_collator=transformers.DataCollatorForLanguageModeling(
                corpus.tokenizer, mlm_probability=MASKED[name]
            ),
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return held_out.measured


def _model(name: str, recipe, tokenizer):
    """transformers' model in the recipe's size, without options that only cost time here."""
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    shape = dict(
        vocab_size=len(tokenizer), hidden_size=recipe.hidden_size,
        intermediate_size=recipe.mlp_ratio * recipe.hidden_size,
        num_hidden_layers=recipe.num_layers, num_attention_heads=recipe.num_heads,
        max_position_embeddings=recipe.length, attn_implementation="sdpa",
        pad_token_id=tokenizer.pad_token_id, bos_token_id=cls, eos_token_id=sep,
    )  # fmt: skip
    if name == "BertForMaskedLM":
        shape |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return transformers.BertForMaskedLM(transformers.BertConfig(**shape))
    shape |= {"cls_token_id": cls, "sep_token_id": sep, "sparse_prediction": True}
    shape |= {"layer_types": ["full_attention"] * recipe.num_layers}  # no window within a block
    return transformers.ModernBertForMaskedLM(transformers.ModernBertConfig(**shape))


class _AsOurs(torch.nn.Module):
    """transformers' model with the call that `evaluate` makes."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, masked_ids, labels):
        return PretrainingOutput(mlm_loss=self.model(input_ids=masked_ids, labels=labels).loss)


class _HeldOut(transformers.TrainerCallback):
    """Every `every` steps: step, seconds of training so far, and held-out losses."""

    def __init__(self, model, recipe, corpus, every: int):
        self.model, self.recipe, self.corpus, self.every = _AsOurs(model), recipe, corpus, every
        self.measured, self.spent, self.started = [], 0.0, 0.0

    def on_train_begin(self, *_, **__):
        self.started = time.perf_counter()

    def on_step_end(self, _, state, __, **___):
        if state.global_step % self.every:
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.spent += time.perf_counter() - self.started
        losses = evaluate(self.model, self.recipe, self.corpus)
        self.measured.append((state.global_step, self.spent, losses))
        self.started = time.perf_counter()


def _bare_steps(recipe, corpus, device: torch.device, rounds: int) -> dict:
    """Forward and backward of the same batches, in turns: ours and transformers' ModernBERT."""
    ours = build_model(recipe, corpus, 0).to(device)
    theirs = _model("ModernBertForMaskedLM", recipe, corpus.tokenizer).to(device)
    blocks, timed = corpus.blocks("train", recipe.length), []
    for step in range(rounds + 2):
        batch = share_of(draw_batch(recipe, corpus, blocks, 0, step, device), 0, 1)
        same = {"input_ids": batch["masked_ids"], "labels": batch["labels"]}
        pair = partial(ours, **batch), partial(theirs, **same)
        timed.append([seconds(lambda passed=p: passed().loss.backward(), device) for p in pair])
    mine, others = zip(*timed[2:], strict=True)  # the first two warm up
    size = recipe.batch_size * recipe.length
    return {
        "measure": "forward and backward of demo's MLM arm, fp32",
        "ours tokens/s": round(size / statistics.median(mine)),
        "ModernBertForMaskedLM tokens/s": round(size / statistics.median(others)),
        "times": round(statistics.median(b / a for a, b in zip(mine, others, strict=True)), 2),
    }
