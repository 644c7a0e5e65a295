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
    assert second.startswith("The larger λ, the less uniform on average: ")
    assert "at λ = 0.75, minus the learned λ (3 seeds); λ = 0.25, λ = 0.5 and" in second
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
        findings.schedule(empty),
        findings.power(empty),
        findings.power(gaps(seeds=1)),
        findings.probes_alike(pd.DataFrame(columns=["title", "model", "score", "low", "high"])),
    ):
        assert len(sentences) == 1 and re.search(r"\b[Nn]o |needed|One seed", sentences[0])


def ends(shifts: dict[str, tuple]) -> pd.DataFrame:
    """`contrasts.endpoints`: uniformity, a value per seed of each condition."""
    rows = [
        dict(condition=name, title=name, seed=seed, task="t", metric="uniformity", value=value)
        for name, values in shifts.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


def test_every_lambda_is_compared_with_mlm_only_on_the_seeds_that_all_have():
    table = ends({"mlm": (0, 0.1, 0.2, 5), "hybrid": (-1, -0.8, -0.8, 9),
                  "hybrid-lam25": (-0.5, 0.3, 0.3)})  # fmt: skip
    effects = findings.over_mlm(table)
    assert effects["seeds"].tolist() == [3, 3] and effects["value"].iloc[0] == pytest.approx(
        -29 / 30
    )
    (sentence,) = findings.every_lambda(effects)
    assert sentence.startswith("The hybrid is more uniform than MLM-only with 1 of 2 choices of λ")
    assert findings.every_lambda(pd.DataFrame()) == [findings._NO_PAIR]
    note = findings.same_seeds(table)
    assert "has 4 seeds and mean uniformity 1.60" in note and "seeds 0 to 2 are" in note
    assert note.endswith("whose mean is −0.87.")


@pytest.mark.parametrize(("late", "words"), [(-1.2, "Part of"), (0.9, "The decay does not")])
def test_the_longer_schedule_is_read_where_the_hybrid_ends(late, words):
    runs = {"hybrid": [(0, -2), (10, -1)], "mlm": [(0, -2), (10, -0.5)],
            "mlm-flops": [(5, late - 0.1), (15, late + 0.1)]}  # fmt: skip
    way = pd.DataFrame(
        dict(condition=name, seed=seed, metric="uniformity", tokens=1e6 * t, value=v + 0.01 * seed)
        for name, points in runs.items() for seed in (0, 1, 2) for t, v in points
    )  # fmt: skip
    way.loc[way["condition"] == "hybrid", "value"] -= 0.02 * way["seed"]
    (sentence,) = findings.schedule(way)
    assert "After 10.0 M tokens uniformity is −1.0" in sentence and words in sentence
    assert f"{late + 0.01:.2f} [".replace("-", "−") in sentence, "halfway between snapshots"


def test_a_leak_is_judged_metric_by_metric_and_a_picture_takes_the_words():
    rows = gaps(0.2, 0.1, 0.3, 3, ["targets leak"])
    rows.loc[rows["metric"] == "uniformity", "low"] = -0.1
    (sentence,) = findings.leak(rows)
    assert sentence.startswith(
        "With targets that leak, uniformity is not clearly different (0.20 [−0.10, 0.30]"
    )
    assert findings.heading(sentence).endswith("the effective rank is higher; more is learned")


def test_each_suspect_has_a_verdict_that_follows_the_numbers():
    seen, wiki = findings.evidence("eight-seeds"), findings.evidence("plateau")
    table = findings.verdicts(seen, wiki)
    assert len(table) == 8 and table["verdict"].str.contains("cause|undecided").all()
    assert findings.verdict(table, 2).startswith("**Verdict: not the cause.** −0.13 [−0.24, −0.02]")
    turned = seen["06_contrasts"].assign(high=1.0, p=1.0)
    turned = findings.verdicts(seen | {"06_contrasts": turned}, wiki)
    assert (turned["verdict"].loc[[1, 2, 4, 8]] == "undecided").all()


def test_what_is_missing_is_named_with_its_reason():
    models = pd.DataFrame({"model": ["hybrid", "untrained", "MiniLM"]})
    words = "Not in the table: the untrained encoder as published (no run as published here)."
    assert findings.missing_references(models) == words
    assert findings.missing_references(pd.DataFrame()).count(" (no") == 3
    assert "A star marks" in tables.star_note(gaps(seeds=10))
    assert "takes 10 seeds, and 9 are" in tables.star_note(gaps(seeds=9))


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
        *findings.every_lambda(findings.over_mlm(grid["06_ends"])),
        *findings.schedule(grid["06_trajectories"]),
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
