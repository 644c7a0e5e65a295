"""Random and fitted poolers beside the mean."""

import numpy as np
import pandas as pd
import pytest

from predrecon import analysis, metrics, poolers
from predrecon.pooling import embed
from predrecon.tasks import load_task


@pytest.fixture(scope="module")
def table(smoke_runs, corpus):
    compared = analysis.models(smoke_runs, corpus.tokenizer)
    return poolers.spread(compared, [load_task("docs-relation")], draws=3, max_samples=60)


def test_every_pooler_is_there(table):
    counts = table[table["metric"] == "uniformity"].groupby(["model", "pooler"]).size()
    for model in ("hybrid", "mlm"):
        assert counts[model].to_dict() == {
            "mean": 1, "random attention": 3, "weighted fitted": 1, "attention fitted": 1
        }  # fmt: skip


def test_draw_0_is_the_attention_pooling_of_the_tables(table, smoke_runs, corpus):
    split = load_task("docs-relation").validation.head(60)
    z = embed(smoke_runs["mlm"].encoder(), corpus.tokenizer, split.first, split.second)
    cell = table.query("model == 'mlm' and metric == 'uniformity' and draw == 0")
    found = cell.set_index("pooler")["value"]
    assert found["mean"] == metrics.uniformity(z["mean"])
    assert found["random attention"] == pytest.approx(metrics.uniformity(z["attention"]), abs=1e-9)


def test_ratios_of_same_and_own_draws():
    rows = []
    for model, values in {"hybrid": (-0.4, -0.8), "mlm": (-0.1, -0.2)}.items():
        for draw, value in enumerate(values):
            rows.append({"task": "t", "title": "T", "model": model, "seed": 0, "draw": draw,
                         "pooler": "random attention", "metric": "uniformity", "value": value,
                         "n": 9})  # fmt: skip
    found = poolers.ratios(pd.DataFrame(rows))
    assert np.allclose(found.query("basis == 'same draw'")["ratio"], [4, 4])
    assert sorted(found.query("basis == 'own draw'")["ratio"].round(6)) == [2, 4, 4, 8]
