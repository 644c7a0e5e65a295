"""Fitted pooling finds the token that tells the classes apart."""

import pytest
import torch

from predrecon.audit.fitted_pooling import FITTED, TokenVectors, fit_direction, fitted_directions
from predrecon.data.tasks import load_task
from predrecon.pooling import embed, pool


def marked(n=300, length=8, dim=6, seed=0):
    """One token a text is marked (dimension 0) and holds the class (dimension 1)."""
    draw = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, length, dim, generator=draw)
    hidden[:, :, 0] = 0
    labels = torch.randint(0, 2, (n,), generator=draw)
    places = torch.randint(0, length, (n,), generator=draw)
    hidden[torch.arange(n), places, 0] = 3.0
    hidden[torch.arange(n), places, 1] = 2.0 * labels - 1
    return TokenVectors(hidden, torch.ones(n, length, dtype=torch.long)), labels, places


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_fitted_direction_looks_where_the_label_is(kind):
    tokens, labels, places = marked()
    direction = fit_direction(tokens, labels, kind, start=torch.zeros(6), epochs=30)
    held_out, _, places = marked(seed=1)
    shares = (held_out.hidden @ direction).softmax(dim=1)
    attended = shares[torch.arange(len(places)), places].mean()
    assert attended > 0.5, "an eighth, if nothing had been learnt"


def test_it_is_a_function_of_its_seed():
    tokens, labels, _ = marked(n=80)
    start = torch.zeros(6)
    one, same, other = (
        fit_direction(tokens, labels, "classification", start=start, seed=s) for s in (0, 0, 1)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_one_class_cannot_be_fitted():
    tokens, labels, _ = marked(n=20)
    with pytest.raises(ValueError, match="one class only"):
        fit_direction(tokens, labels * 0, "classification", start=torch.zeros(6))


def test_both_for_a_task_and_in_one_pass(smoke_runs):
    run = smoke_runs["mlm"]
    task = load_task("docs-relation")
    encoder, tokenizer = run.encoder(), run_tokenizer(run)
    directions = fitted_directions(encoder, tokenizer, task.train, task.kind, max_train=100)
    assert tuple(directions) == FITTED
    part = task.validation.head(40)
    found = embed(encoder, tokenizer, part.first, part.second, directions=directions)
    alone = embed(encoder, tokenizer, part.first, part.second, poolings=("mean",))
    assert list(found)[-2:] == list(FITTED)
    assert (found["mean"] == alone["mean"]).all()
    assert not (found["weighted fitted"] == found["mean"]).all()


def test_directions_pool_as_pool_does():
    tokens, *_ = marked(n=5)
    direction = torch.arange(6.0)
    as_weighted = pool(tokens.hidden, tokens.mask, "weighted", direction=direction)
    as_attention = pool(tokens.hidden, tokens.mask, "attention", direction=direction)
    assert torch.equal(as_weighted, as_attention)


def run_tokenizer(run):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(run.folder)
