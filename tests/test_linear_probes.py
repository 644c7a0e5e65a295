"""Linear probes of encoders on tasks: Table 3, the choice of the epoch, and what is cached."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from predrecon.audit import encoders, linear_probes
from predrecon.audit.statistics import student_interval
from predrecon.pooling import POOLINGS
from predrecon.workbook import tables


@pytest.fixture(scope="module")
def probed(compared, labelled):
    return linear_probes.linear_probing(compared, labelled)


def test_linear_probing_and_its_tables(probed):
    assert list(probed["model"].unique()) == ["hybrid", "mlm", "untrained", "majority"]
    table = tables.probing_table(probed)
    assert list(table.index) == ["Docs-swap", "Docs-relation", "Docs-overlap"]
    assert table.loc["Docs-swap", "majority"] == "0.000 [0.000, 0.000]", "MCC of one answer"
    relation = probed.query("task == 'docs-relation' and model == 'majority'").iloc[0]
    spread = 1.96 * np.sqrt(relation["score"] * (1 - relation["score"]) / 120)
    assert relation["high"] - relation["score"] == pytest.approx(spread, rel=0.2)
    assert table["hybrid"].str.fullmatch(r"-?[\d.]+ \[-?[\d.]+, -?[\d.]+\] 1 seed").all()
    assert "published hybrid" not in table, "embedded tasks have no published number"
    short = tables.scores_table(probed)
    assert list(short.columns) == ["hybrid", "MLM-only", "untrained", "majority class"]
    assert list(short.index) == ["Docs-swap, MCC", "Docs-relation, accuracy", "Docs-overlap, ρ"]
    glue = tables.scores_table(probed.assign(task=probed["task"].replace("docs-overlap", "stsb")))
    assert (glue["published hybrid"] == "–").sum() == 2, "beside the GLUE task alone"
    assert (table["n_train"] == 150).all() and (table["n"] == 120).all()


def test_several_seeds_are_one_line_with_their_interval(probed):
    other = probed.assign(seed=1, score=probed["score"] + 0.1)
    table = tables.probes_over_seeds(pd.concat([probed, other]))
    row = table.set_index(["task", "model"]).loc[("docs-swap", "hybrid")]
    first = probed.query("task == 'docs-swap' and model == 'hybrid'")["score"].iloc[0]
    both = student_interval([first, first + 0.1], bounds=(-1, 1))  # Matthews' correlations
    assert row["seeds"] == 2 and row["score"] == pytest.approx(both.value)
    assert (row["low"], row["high"]) == pytest.approx((both.low, both.high))
    same = tables.probes_over_seeds(pd.concat([probed, probed.assign(seed=1)]))
    assert (same["basis"] == "samples").all() and (same["seeds"] == 2).all()
    untrained = same["model"] == "untrained"
    first = probed.loc[probed["model"] == "untrained", "low"]
    assert same.loc[untrained, "low"].tolist() == first.tolist()
    assert (
        "2 equal seeds"
        in tables.probing_table(pd.concat([probed, probed.assign(seed=1)])).loc[
            "Docs-swap", "hybrid"
        ]
    )


def test_table_3_is_exported_like_the_others(probed, tmp_path):
    files = tables.export_probing_table(probed, tmp_path, "inner")
    assert [f.name for f in files] == ["table_03.csv", "table_03.md", "table_03.tex"]
    numbers, text = pd.read_csv(files[0]), files[1].read_text(encoding="utf-8")
    assert {"score", "low", "high", "seeds", "basis", "n"} <= set(numbers.columns)
    assert not numbers[["low", "high"]].isna().any(axis=None), "the reference rows too"
    assert text.startswith("Table 3.") and "a tenth of the training split" in text
    assert "holds no sampling error of the n texts" in text
    assert files[2].read_text(encoding="utf-8").count(r"\\") == 4


def test_a_probe_is_fitted_once(compared, labelled, monkeypatch, tmp_path):
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    first = linear_probes.linear_probing(compared[:1], labelled[:1])
    probes = linear_probes.probes
    monkeypatch.setattr(probes, "linear_probes", lambda *_, **__: pytest.fail("again"))
    pd.testing.assert_frame_equal(linear_probes.linear_probing(compared[:1], labelled[:1]), first)


def test_heads_of_all_poolings_come_from_one_pass(compared, labelled, monkeypatch, tmp_path):
    model, task = compared[0], labelled[0]
    one_by_one = {
        p: linear_probes.probe(model, task, pooling=p, max_train=60) for p in ("mean", "max")
    }
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    passes, embed = [], encoders.embed
    monkeypatch.setattr(encoders, "embed", lambda *a, **k: passes.append(1) or embed(*a, **k))
    together = linear_probes.probe_poolings(model, task, max_train=60)
    assert list(together) == list(POOLINGS) and len(passes) == 2
    for pooling, (result, interval, n_train) in one_by_one.items():
        assert together[pooling][1:] == (interval, n_train)
        assert np.array_equal(together[pooling][0].predictions, result.predictions)


def test_heads_of_all_encoders_are_trained_at_once(compared, labelled, monkeypatch, tmp_path):
    alone = [linear_probes.linear_probing([model], labelled) for model in compared]
    alone = pd.concat(alone).query("model != 'majority'").sort_values(["task", "model"])
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    linear_probes.linear_probing(compared[1:2], labelled)
    stacks, train = [], linear_probes.probes._train
    monkeypatch.setattr(
        linear_probes.probes,
        "_train",
        lambda s, *a, **k: stacks.append(len(s)) or train(s, *a, **k),
    )
    together = linear_probes.linear_probing(compared, labelled)
    assert stacks == [2, 2, 2], "of each task those that are missing"
    together = together.query("model != 'majority'").sort_values(["task", "model"])
    pd.testing.assert_frame_equal(
        together.reset_index(drop=True), alone.reset_index(drop=True), rtol=0, atol=1e-6
    )


def test_which_epoch_is_scored_is_the_callers_choice(compared, labelled, monkeypatch, tmp_path):
    """`inner` chooses on other texts than `reported`; each choice has results of its own."""
    monkeypatch.setenv("PREDRECON_CACHE", str(tmp_path))
    selected, train = [], linear_probes.probes.linear_probes

    def fit(heads, *, selects, **options):
        selected.append(selects)
        return train(heads, selects=selects, **options)

    monkeypatch.setattr(linear_probes.probes, "linear_probes", fit)
    model, task = compared[0], dataclasses.replace(labelled[1], epochs=12)
    rows = {}
    for select in linear_probes.probes.SELECT:
        rows[select] = linear_probes.linear_probing([model], [task], select=select).iloc[0]
        assert linear_probes.probe(model, task, select=select)[0].score == rows[select]["score"]
    assert selected == [("last", "reported"), ("inner",)], "last and reported from one training"
    assert len(list((tmp_path / "results").iterdir())) == 3
    assert rows["reported"]["score"] == rows["last"]["best_epoch_score"]
    assert rows["inner"]["score"] < rows["inner"]["best_epoch_score"], "chosen elsewhere"
    with pytest.raises(ValueError, match="expected one of last, inner, reported"):
        linear_probes.probe(model, task, select="best")


def test_without_models_or_tasks_there_is_nothing_to_probe(compared, labelled):
    for function in (linear_probes.linear_probing, linear_probes.epoch_selection_gain):
        with pytest.raises(ValueError, match="0 models, 3 tasks: nothing to measure"):
            function([], labelled)
        with pytest.raises(ValueError, match="3 models, 0 tasks: nothing to measure"):
            function(compared, [])


def test_the_gain_of_selecting_an_epoch_has_an_interval(compared, labelled, monkeypatch, tmp_path):
    """One seed: paired over texts. Several: over seeds."""
    task, (one, other) = dataclasses.replace(labelled[1], epochs=12), compared[:2]
    one_seed = linear_probes.epoch_selection_gain([one], [task]).iloc[0]
    last, best = (linear_probes.probe(one, task, select=s)[0] for s in ("last", "reported"))
    assert (
        one_seed["value"] == pytest.approx(best.score - last.score)
        and one_seed["basis"] == "samples"
    )
    labels = task.validation.labels
    change = (best.predictions == labels) * 1.0 - (last.predictions == labels)
    margin = 1.96 * change.std() / np.sqrt(len(labels))
    assert one_seed["high"] - one_seed["value"] == pytest.approx(margin, rel=0.2)
    passes, embed = [], encoders.embed
    with monkeypatch.context() as patch:
        patch.setenv("PREDRECON_CACHE", str(tmp_path))
        patch.setattr(encoders, "embed", lambda *a, **k: passes.append(1) or embed(*a, **k))
        again = linear_probes.epoch_selection_gain([one], [task]).iloc[0]
        linear_probes.linear_probing([one], [task])
    assert again.equals(one_seed) and len(passes) == 4, "two sides of two splits, each encoded once"
    second = dataclasses.replace(other, name=one.name, seed=1)
    both = linear_probes.epoch_selection_gain([one, second], [task]).iloc[0]
    gains = [
        one_seed["value"],
        linear_probes.epoch_selection_gain([other], [task])["value"].iloc[0],
    ]
    assert len(set(gains)) == 2 and both["basis"] == "seeds" and both["seeds"] == 2
    assert both["high"] == pytest.approx(student_interval(gains).high)
    text = tables.epoch_gain_table(linear_probes.epoch_selection_gain([one], [task]))
    assert text[one.name].str.fullmatch(r"[\d.]+ \[-?[\d.]+, [\d.]+\]").all()
