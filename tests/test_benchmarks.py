"""The benchmark runs, and its baseline computes the same thing as the module."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import textbook
import textbook_geometry
import torch

from predrecon import recipes
from predrecon.audit import geometry
from predrecon.training.batches import draw_batch
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
    options = "--tiny --rounds 1 --corpus docstrings --sections agreement,hybrid,data --out".split()
    command = [sys.executable, str(BENCHMARKS / "bench.py"), *options, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in (tmp_path / "tiny.jsonl").read_text().splitlines()]
    assert lines[0]["versions"] and [line["measure"] for line in lines[1:]] == [
        "hybrid agreement",
        "mlm agreement",
        "hybrid training",
        "preparing data",
    ]
    assert all(line["within limits"] and line["20 steps reproducible"] for line in lines[1:3])
    assert lines[3]["roofline %"] > 0 and lines[3]["times textbook"] > 0
