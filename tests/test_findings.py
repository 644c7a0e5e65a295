"""Sentences made of numbers: the words follow the signs, and all evidence is there to be read."""

import re

import numpy as np
import pandas as pd
import pytest

from predrecon.audit import lab
from predrecon.data import paths
from predrecon.workbook import figures, findings, tables


def gaps(value=-0.2, low=-0.3, high=-0.1, seeds=8, names=("objective", "objective, equal FLOPs")):
    """`contrasts.paired_contrasts` with one number in every cell."""
    metrics = ("uniformity", "equal_length", "uniformity_released", "effective_rank")
    metrics += ("semantic_probe", "token_probe", "below_unigram")
    row = dict(value=value, low=low, high=high, seeds=seeds, p=0.01, p_corrected=0.2)
    row |= dict(detectable=0.15, seeds_needed=17.0)
    rows = [row | dict(contrast=name, metric=metric) for name in names for metric in metrics]
    return pd.DataFrame(rows)


def test_a_number_has_its_interval_a_true_minus_and_no_more_than_it_means():
    row = {"value": -0.179, "low": -0.287, "high": -0.072}
    assert findings.number(row) == "−0.18 [−0.29, −0.07]"
    assert findings.number(row, 3) == "−0.179 [−0.287, −0.072]"
    assert findings.number(row | {"low": -np.inf, "high": np.inf}) == "−0.18"
    assert findings.number({"value": 4e-4, "low": -2e-4, "high": 9e-4}) == "below 0.001"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (-0.3, -0.1, "more uniform than MLM-only's"),
        (0.1, 0.3, "less uniform than MLM-only's"),
        (-0.1, 0.1, "not distinguishable from MLM-only's"),
        (-np.inf, np.inf, "not distinguishable from MLM-only's"),
    ],
)
def test_words_follow_the_interval(low, high, words):
    value = np.nan_to_num((low + high) / 2, nan=-0.2)
    first, *_ = findings.objective(gaps(value, low, high))
    assert (
        f"embeddings are {words}: uniformity" in first
        and "(8 seeds, p = 0.010, 0.20 after Holm's correction over" in first
    )
    assert first.endswith("; published −0.13).")


def test_nats_probes_and_cost_stand_in_one_place():
    cost = {"value": 0.637, "low": 0.6, "high": 0.7}
    first, steps, equal = findings.operations(gaps(), cost)
    assert first == "A hybrid step costs 64 [60, 70] % more operations than an MLM-only step."
    assert steps.startswith("At equal steps the hybrid has learned less: −0.20 [−0.30, −0.10] nats")
    assert "the semantic probe is lower: −0.200" in equal
    alike = findings.operations(gaps(0.0, -0.1, 0.1))
    assert alike[0].startswith("At equal steps the arms are not distinguishable")


def test_lambda_is_the_schedule_only_where_the_numbers_say_so():
    names = [f"λ = {lam} for learned" for lam in (0.25, 0.5, 0.75)]
    rising = pd.concat(gaps(0.1 * k, seeds=3, names=[name]) for k, name in enumerate(names))
    driven = {"value": -0.04, "low": -0.041, "high": -0.039}
    first, second = findings.balance(rising, driven)
    assert "w is 4.0 [3.9, 4.1] % below the sum of the learning rates: the schedule" in first
    assert second.startswith("Uniformity rises with λ: ") and "at λ = 0.75, minus learned" in second
    free = {"value": 1.0, "low": 0.5, "high": 1.5}
    assert (
        "above the sum of the learning rates: the losses move λ"
        in findings.balance(rising, free)[0]
    )
    flat = pd.concat(gaps(v, names=[n]) for v, n in zip((0.1, 0.3, 0.2), names, strict=True))
    assert findings.balance(flat)[0].startswith("Fixed λ against the learned one")


def test_without_runs_a_sentence_says_what_is_missing():
    empty = pd.DataFrame()
    for sentences in (
        findings.objective(empty),
        findings.operations(empty),
        findings.balance(empty),
        findings.leak(empty),
        findings.at_equal_loss(empty),
        findings.before_training(empty),
        findings.power(empty),
        findings.power(gaps(seeds=1)),
        findings.probes_alike(pd.DataFrame(columns=["title", "model", "score", "low", "high"])),
    ):
        assert len(sentences) == 1 and re.search(r"\b[Nn]o |needed|One seed", sentences[0])
    assert findings.here(["A.", "B."]) == ["*This disk.* A.", "B."]


def test_training_helps_or_hurts_by_intervals():
    rows = [
        dict(title=title, model=model, score=score, low=score - 0.05, high=score + 0.05, seeds=8)
        for title, scores in {"A": (0.8, 0.7, 0.5), "B": (0.5, 0.5, 0.9)}.items()
        for model, score in zip(("hybrid", "mlm", "untrained"), scores, strict=True)
    ]
    first, second = findings.probes_alike(pd.DataFrame(rows))
    assert first == "The arms differ by 0.100 at most (on A), over 2 tasks (8 seeds)."
    assert second.startswith("Training helps on A and hurts on B: there the untrained encoder")


def test_all_evidence_that_the_notebooks_name_makes_sentences(monkeypatch, tmp_path):
    """Also where figures are written elsewhere: these numbers come with the project."""
    monkeypatch.setenv("PREDRECON_FIGURES", str(tmp_path))
    grid, wiki = findings.evidence("eight-seeds"), findings.evidence("wikipedia")
    contrasts, claims = grid["06_contrasts"], grid["00_map"]
    sentences = [
        findings.grid_budget(grid),
        *findings.objective(contrasts),
        *findings.operations(contrasts, findings.claim(claims, "Identical compute")),
        *findings.balance(contrasts, findings.claim(claims, "λ is learned")),
        *findings.leak(contrasts),
        *findings.at_equal_loss(grid["06_equal_nats"], grid["06_followed"]),
        *findings.stuck(grid["06_ends"]),
        *findings.before_training(grid["06_trajectories"]),
        *findings.power(contrasts),
        *findings.statuses(claims),
        *findings.attention_ratio(claims),
        *findings.probes_alike(grid["04_probes"]),
        *findings.plateau_runs(findings.evidence("plateau")),
        *findings.wikipedia(wiki, findings.evidence("h100")),
        *findings.h100(findings.evidence("h100")),
    ]
    assert len(sentences) > 25
    for sentence in sentences:
        assert sentence.endswith(".") and "nan" not in sentence and "-" not in re.sub(
            r"(?<=\w)-(?=\w)", "", sentence
        ), sentence  # fmt: skip
    assert all(map(len, lab.first_answer()))
    with pytest.raises(FileNotFoundError, match="figures/data/nowhere: not here"):
        findings.evidence("nowhere")
    monkeypatch.setattr(paths, "_checkout", lambda: tmp_path)
    assert lab.first_answer() is None


def test_claims_are_tiles_each_with_a_mark_and_the_title_counts_them():
    claims = findings.evidence("eight-seeds")["00_map"]
    fig = figures.claim_statuses(claims)
    tiles = {trace.name[2:]: len(trace.x) for trace in fig.data}
    assert tiles == claims["status"].value_counts().reindex(tiles).fillna(0).astype(int).to_dict()
    counts = claims[claims["architecture"] == "modern"]["status"].value_counts()
    assert f"modern: {counts['reproduced']} reproduced" in fig.layout.title.text
    assert len(fig.layout.yaxis.categoryarray) == 38 and fig.layout.margin.l < 420


def test_pictures_of_suspects_and_of_power():
    rows = gaps(names=("objective", "targets leak"))
    forest = figures.suspect(rows, ["targets leak", "not here"], "The leak")
    assert [list(trace.y) for trace in forest.data] == [["targets leak"]] * 3
    curve = figures.power_curve(rows)
    find, width, here = curve.data[:3]
    assert (here.x[0], here.y[0]) == (8, 0.15) and find.y[6] == pytest.approx(0.15)
    assert (np.diff(find.y) < 0).all() and (np.array(width.y) < find.y).all()
    assert curve.layout.title.text == "A difference of the published size takes 10 seeds to find"
    best = figures.best_of([dict(epochs=1, simulated=0.01, expected=0.0),
                            dict(epochs=90, simulated=2.4, expected=2.51)])  # fmt: skip
    assert best.layout.title.text == "The best of 90 equal epochs looks better by 2.5 σ"


def test_tables_come_in_parts_that_fit_a_page():
    ends = findings.evidence("eight-seeds")["06_ends"]
    parts = tables.folded(tables.endpoint_table(ends), "All")
    assert [part.data.shape[1] for part in parts] == [4, 4, 3], "seeds, and three metrics at most"
    assert parts[0].caption == "All"
    assert list(parts[0].data) == [
        "seeds", "nats below word frequencies", "uniformity", "effective rank"
    ]  # fmt: skip
    assert parts[0].data.loc["hybrid", "effective rank"].startswith("74.0 [")
