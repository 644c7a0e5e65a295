"""Sentences and short tables of notebooks 05 to 05c: true whatever the numbers are."""

import numpy as np
import pandas as pd
import pytest

from predrecon.workbook import figures, sentences, tables


def gaps(seeds=3, scale=1.0) -> pd.DataFrame:
    """Uniformity clearly lower under mean, higher under max, and undecided under attention."""
    ends = {"mean": (-0.3, -0.1), "max": (0.1, 0.2), "attention": (-0.2, 0.1)}
    rows = [
        {"pooling": pooling, "metric": metric, "value": scale * (low + high) / 2,
         "low": scale * low, "high": scale * high, "seeds": seeds, "basis": "seeds",
         "same_sign": 1.0, "p": 0.25, "p_corrected": 0.01 if pooling == "mean" else 1.0}
        for metric in ("uniformity", "effective_rank", "probe_gap", "alignment")
        for pooling, (low, high) in ends.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_words_follow_sign_and_interval():
    uniformity, rank, _, basis = sentences.of_gaps(gaps())
    assert uniformity == (
        "**Uniformity.** More uniform under mean (−0.200 ± 0.100); less uniform under max "
        "(0.150 ± 0.050); no clear difference under attention (−0.050 ± 0.150)."
    )
    assert "Poorer under mean" in rank and "richer under max" in rank
    assert basis.endswith("over 3 seeds.")
    assert "the texts of one seed, not over seeds" in sentences.of_gaps(gaps(seeds=1))[-1]
    one_seed = gaps().assign(low=-np.inf, high=np.inf)
    assert "no clear difference under mean (−0.200, no interval)" in sentences.of_gaps(
        one_seed, ("alignment",)
    )[0].replace("No", "no", 1)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ((-0.18, -0.29, -0.07), "−0.180 ± 0.110"),
        ((0.0001, -0.0002, 0.0004), "< 0.001"),
        ((-0.0001, -0.01, 0.0098), "0.000 ± 0.010"),
        ((0.5, -np.inf, np.inf), "0.500, no interval"),
        ((np.nan, np.nan, np.nan), "–"),
    ],
)
def test_a_difference_has_one_style(row, text):
    assert tables.margin_text(*row) == text


def test_the_short_table_has_a_star_where_p_is_small_and_no_p():
    short, every = tables.gap_table(gaps()), tables.every_gap_table(gaps())
    assert list(short) == ["uniformity", "effective rank", "probe gap"]
    assert short.loc["mean", "uniformity"] == "−0.200 ± 0.100 *"
    assert every.loc["alignment", "max"] == "0.150 ± 0.050" and list(every) == list(short.index)
    assert "3 seeds" in tables.gap_caption(gaps()) and "p <" in tables.gap_caption(gaps())
    assert "p" not in tables.gap_caption(gaps(seeds=1)).replace("Hybrid", "").split("over")[1]


def test_the_headline_counts_the_poolings_that_bear_a_claim_out():
    fig = figures.headline_differences(gaps())
    title = fig.layout.title.text
    assert (
        title
        == "The hybrid is more uniform under 1, richer under 1, less lexical under 1 of 3 poolings"
    )
    heads = [note.text.split("<br>")[0] for note in fig.layout.annotations]
    assert heads == ["uniformity", "effective rank", "probe gap"]


def test_differences_too_small_to_matter_have_readable_ticks():
    fig = figures.differences(gaps(scale=1e-7))
    assert all(fig.layout[f"xaxis{n}"].range == (-1e-3, 1e-3) for n in ("", 2, 3, 4))
    assert figures.differences(gaps()).layout.xaxis.range is None


def test_poolers_and_lengths_and_spectra_in_words():
    ratios = pd.DataFrame(
        [("a", 0, "mean", "same draw", 1.5), *[("a", 0, "weighted fitted", "same draw", 1.0)],
         *[("a", 0, "random attention", "own draw", r) for r in (1.0, 2.0, 6.0)]],
        columns=["title", "seed", "pooler", "basis", "ratio"],
    )  # fmt: skip
    mean, random, draw, fitted, answer = sentences.of_poolers(ratios)
    assert "The luckiest pair of draws gives 6.00: encoder and draw can reach 5." in answer
    assert fitted.startswith("**Weighted fitted.** 1.00 to 1.00 times, by task and seed")
    assert fitted.endswith("leaves little of it.")
    assert "1.50 to 1.50 times" in mean and "5 is reached by 1 of 3 pairs of draws." in random
    assert "a factor of 6.00" in draw
    table = tables.pooler_table(ratios)
    assert table.loc["a", "random pairs"] == "1.00 to 6.00"
    assert table.loc["a", "of these 5 or more"] == "33.3%"

    control = pd.DataFrame(
        [dict(task="t", title="T", pooling="mean", model=model, seed=0, n=9, metric=metric,
              value=value, low=value - 0.01, high=value + 0.01)
         for model, base in (("hybrid", -1.0), ("mlm", -0.8)) for metric, value in
         (("uniformity", base), ("equal_length", base / 2), ("explained", 0.5), ("by_chance", 0.1))]
    )  # fmt: skip
    arms, alone = sentences.of_lengths(control)
    assert "−0.200 ± 0.014 over all pairs" in arms and "−0.100 ± 0.014 over pairs" in arms
    assert "50.0% (hybrid), 50.0% (MLM-only) of the variance" in alone
    assert alone.endswith("groups explain 10.0%.")
    assert len(sentences.of_lengths(control[control["model"] == "mlm"])) == 1
    assert list(tables.length_means(control).index) == ["hybrid", "MLM-only"]

    share = np.array([0.6, 0.25, 0.1, 0.05])
    parts = [
        pd.DataFrame(
            dict(
                task="t",
                pooling="mean",
                model=model,
                seed=0,
                rank=range(1, 5),
                share=share,
                cumulative=share.cumsum(),
            )
        )
        for model in ("hybrid", "mlm")
    ]
    hybrid, _ = sentences.of_spectra(pd.concat(parts))
    assert "in 3 to 3 of 4 components" in hybrid and "holds 60%" in hybrid


def test_classes_in_words_of_one_task_and_of_several():
    rows = [
        dict(task=task, model=model, pooling="mean", metric=metric, value=value)
        for number, (task, model) in enumerate((t, m) for t in "ab" for m in ("hybrid", "mlm"))
        for metric, value in (("alignment", number), ("uniformity", -number),
                              ("intra_inter_ratio", 0.9 + number / 100))
    ]  # fmt: skip
    together, apart = sentences.of_classes(pd.DataFrame(rows))
    assert "rank correlation −1.00; what spreads out" in together
    assert "0.900 to 0.920 (hybrid), 0.910 to 0.930 (MLM-only)" in apart
    assert len(sentences.of_classes(pd.DataFrame(rows).query("task == 'a'"))) == 1


def test_the_papers_claims_are_answered_by_intervals():
    rows = [
        ("uniformity", "mean", -0.2), ("uniformity", "max", 0.0), ("uniformity", "attention", -0.2),
        ("effective_rank", "max", -0.2), ("probe_gap", "attention", 0.2),
    ]  # fmt: skip
    gaps = pd.DataFrame(rows, columns=["metric", "pooling", "value"])
    gaps = gaps.assign(low=gaps["value"] - 0.1, high=gaps["value"] + 0.1)
    assert sentences.of_claims(gaps) == (
        "**The paper's claims.** More uniform: only under mean, attention; richer under max "
        "pooling: no, the opposite; less lexical under attention pooling: yes."
    )
