"""Geometry after every layer, against transformers' hidden states."""

import numpy as np
import pandas as pd
import pytest
import torch
from test_loading import TEXTS, saved, words_tokenizer
from transformers import AutoModel

from predrecon import load_encoder, metrics
from predrecon.audit.by_layer import geometry_by_layer, layer_vectors
from predrecon.audit.geometry import SIX, measure
from predrecon.data.tasks import Split
from predrecon.workbook import figures


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta", "modernbert", "gpt2"])
def test_layers_are_the_hidden_states_of_transformers(tmp_path, kind):
    model = load_encoder(saved(tmp_path, kind))
    vectors = layer_vectors(model, Split(TEXTS, None, np.zeros(3)), ("mean", "max"))
    encoder, tokenizer = AutoModel.from_pretrained(tmp_path).eval(), words_tokenizer(kind)
    for row, text in enumerate(TEXTS):
        ids = tokenizer(text, truncation=True, max_length=12, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = encoder(ids, output_hidden_states=True).hidden_states
        assert len(vectors) == 2 * len(states)
        for layer, state in enumerate(states):
            np.testing.assert_allclose(vectors[layer, "mean"][row], state[0].mean(0), atol=1e-5)
            np.testing.assert_allclose(vectors[layer, "max"][row], state[0].amax(0), atol=1e-5)


@pytest.mark.parametrize("side", ["right", "left"])
def test_our_encoder_gives_what_its_blocks_compute(smoke_runs, corpus, side):
    encoder, ids = smoke_runs["mlm"].encoder(), torch.tensor([[2, 9, 8, 7, 3, 0, 0]])
    mask = (ids != 0).long()
    if side == "left":
        ids, mask = ids.roll(2, 1), mask.roll(2, 1)
    with torch.no_grad():
        out = encoder(ids, attention_mask=mask, output_hidden_states=True)
        assert encoder(ids, attention_mask=mask).hidden_states is None
        x = encoder.embed(ids[mask.bool()][None])
        expected = [x]
        for block in encoder.blocks:
            x = block(x)
            expected.append(x)
        expected[-1] = encoder.norm(x)
    assert len(out.hidden_states) == len(encoder.blocks) + 1
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state)
    for state, one in zip(out.hidden_states, expected, strict=True):
        np.testing.assert_allclose(state[mask.bool()], one[0], atol=1e-5)
        assert not state[~mask.bool()].any()


def test_the_last_layer_has_the_geometry_of_the_encoder(compared, labelled, monkeypatch):
    table = geometry_by_layer(compared[:1], labelled[:1], poolings=("mean", "max"), max_samples=80)
    blocks = len(compared[0].encoder.blocks)
    assert len(table) == (blocks + 1) * 2 * len(SIX)
    whole = pd.DataFrame(measure(compared[0], labelled[0], max_samples=80).rows)
    keys = ["pooling", "metric"]
    last = table[table["layer"] == blocks].set_index(keys)["value"].sort_index()
    expected = whole.set_index(keys)["value"].loc[last.index]
    np.testing.assert_allclose(last, expected, rtol=1e-5)
    assert (table["low"] <= table["value"]).all() and (table["value"] <= table["high"]).all()
    split = labelled[0].validation.head(80)
    first = layer_vectors(compared[0], split, ("mean",))[0, "mean"]
    value = table.query("layer == 0 and pooling == 'mean' and metric == 'uniformity'")["value"]
    assert value.item() == pytest.approx(metrics.uniformity(first))
    monkeypatch.setattr("predrecon.audit.by_layer.layer_vectors", None)  # from the cache
    again = geometry_by_layer(compared[:1], labelled[:1], poolings=("mean", "max"), max_samples=80)
    pd.testing.assert_frame_equal(again, table)
    figure = figures.by_layer(table, labelled[0].name, labelled[0].title, "mean")
    assert len(figure.data) == len(SIX) and list(figure.data[0].x) == list(range(blocks + 1))
