"""The benchmark runs, and its baseline computes the same thing as the module."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import quality
import textbook
import textbook_geometry
import torch

from predrecon import recipes
from predrecon.audit import geometry
from predrecon.training.batches import draw_batch
from predrecon.training.heldout import evaluate
from predrecon.training.optimizer import build_model

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@torch.no_grad()
def test_the_textbook_encodes_and_predicts_the_same(corpus):
    recipe = recipes.get("smoke")
    model = build_model(recipe, corpus, 0)
    batch = draw_batch(recipe, corpus, corpus.blocks("train", recipe.length), 0, 0)
    ids, context, targets = batch["masked_ids"], batch["context"], batch["targets"]
    z = model.encoder.encode(ids, keep=context)
    torch.testing.assert_close(textbook.encode(model.encoder, ids), model.encoder.encode(ids))
    torch.testing.assert_close(textbook.encode(model.encoder, ids, context.tolist()), z)
    guesses = textbook.predict(model.predictor, z, context.tolist(), targets.tolist())
    torch.testing.assert_close(torch.stack(guesses, 1), model.predictor(z, context, targets))


def test_the_textbook_measures_the_same():
    draw = np.random.default_rng(0)
    z, labels = draw.normal(size=(60, 12)), draw.integers(0, 3, 60)
    ours = geometry.shape_metrics(z, labels)
    theirs = textbook_geometry.metrics(z, labels)
    assert {k: ours[k] for k in theirs} == pytest.approx(theirs, rel=1e-9)


def test_every_section_prints_json_and_writes_it(tmp_path):
    lines = run("agreement,hybrid,data,encode", tmp_path)
    assert lines[0]["versions"] and [line["measure"] for line in lines[1:]] == [
        "hybrid agreement",
        "mlm agreement",
        "hybrid training",
        "preparing data",
        "encoding",
    ]
    assert all(line["within limits"] and line["20 steps reproducible"] for line in lines[1:3])
    assert lines[3]["roofline %"] > 0 and lines[3]["times textbook"] > 0


def test_time_to_quality_has_a_row_a_contestant_and_writes_the_curves(tmp_path):
    _, *rows, ratios, bare = run("quality", tmp_path)
    names = ["demo mlm", "demo hybrid", "demo-published mlm", *quality.THEIRS]
    assert [row["contestant"] for row in rows] == names
    reached = [row[f"s to {level} nats"] for row in rows for level in quality.LEVELS]
    assert all(value is None or value > 0 for value in reached)
    assert len(ratios) == 2 + 3 * len(quality.LEVELS) and bare["times"] > 0
    curves = pd.read_csv(tmp_path / "tiny-quality.csv")
    for row, (name, curve) in zip(rows, curves.groupby("contestant", sort=False), strict=True):
        assert name == row["contestant"] and curve["step"].tolist()[::2] == [0, row["steps"]]
        assert curve["seconds"].is_monotonic_increasing and curve["nats"].notna().all()
        assert curve["nats"].nunique() == 3, "it trains"


def test_everyone_is_judged_on_the_same_held_out_tokens(corpus):
    recipe = recipes.get("smoke", arm="mlm")
    models = [quality._AsOurs(quality._model(n, recipe, corpus.tokenizer)) for n in quality.THEIRS]
    losses = [evaluate(m, recipe, corpus) for m in (build_model(recipe, corpus, 0), *models)]
    for name in ("validation_unigram", "validation_masked_tokens"):
        assert len({one[name] for one in losses}) == 1
    untrained = [one["validation_mlm"] for one in losses]
    assert untrained == pytest.approx([np.log(len(corpus.tokenizer))] * 3, abs=0.1)


def test_crossings_lie_between_points_and_ratios_tell_what_was_not_reached():
    points = [(0, -2.0), (10, 0.0), (20, 1.0), (30, 0.4), (40, 1.2)]
    curve = [{"seconds": spent, "nats": nats} for spent, nats in points]
    assert [quality.crossing(curve, level) for level in quality.LEVELS] == [15, 20, np.inf]
    mine = {"s to 0.5 nats": 15, "s to 1.0 nats": 20, "s to 1.5 nats": np.inf}
    other = {"s to 0.5 nats": 45, "s to 1.0 nats": np.inf, "s to 1.5 nats": 60}
    rows = [{"contestant": "demo mlm", **mine}]
    rows += [{"contestant": name, "seconds": 70.0, **other} for name in quality.THEIRS]
    assert list(quality._ratios(rows).values()) == [3, "> 3.50", None]


def run(sections: str, folder: Path) -> list[dict]:
    """The lines that the benchmark's tiny form writes."""
    options = f"--tiny --rounds 1 --corpus docstrings --sections {sections} --out".split()
    command = [sys.executable, str(BENCHMARKS / "bench.py"), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in (folder / "tiny.jsonl").read_text().splitlines()]
