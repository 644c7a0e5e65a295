"""A claim's status follows from an interval, and from nothing else."""

from pathlib import Path

import pandas as pd
import pytest

from predrecon import recipes
from predrecon.audit import published
from predrecon.audit.claims import STATUSES, decide, paper_map
from predrecon.audit.geometry import Geometry, published_geometry
from predrecon.audit.statistics import Interval
from predrecon.objectives import lambda_before
from predrecon.workbook import findings, tables

CLAIMS = published.claims()
DIFFERENCES = CLAIMS.iloc[:-3]  # between arms or poolings; then cells, operations, balance
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"


@pytest.mark.parametrize(
    "low, high, published, expected",
    [
        (-0.20, -0.10, -0.16, "reproduced"),
        (-0.20, -0.10, 0.16, "not reproduced"),
        (-0.03, -0.01, -0.16, "direction only"),
        (-2.0, -1.0, -0.16, "direction only"),
        (0.01, 0.20, -0.16, "not reproduced"),
        (-0.02, 0.03, -0.16, "not reproduced"),
        (-0.30, 0.10, -0.16, "cannot tell at this budget"),
        (10.0, 20.0, 15.0, "reproduced"),
        (float("-inf"), float("inf"), 1.0, "cannot tell at this budget"),
    ],
)
def test_status_of_a_difference(low, high, published, expected):
    assert decide(Interval((low + high) / 2, low, high, 3), published, [])[0] == expected


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (-0.01, 0.02, "reproduced"),
        (-0.10, 0.02, "cannot tell at this budget"),
        (0.05, 0.09, "not reproduced"),
    ],
)
def test_status_of_a_likeness(low, high, expected):
    assert decide(Interval(0, low, high, 3), 0.001, [], similar=0.03)[0] == expected


def test_on_the_plateau_nothing_can_be_told():
    status, why = decide(Interval(-0.15, -0.2, -0.1, 3), -0.16, ["mlm"])
    assert status == "cannot tell at this budget" and "mlm" in why


def test_without_runs_every_claim_is_open():
    table = paper_map(None, {})
    assert len(table) == len(CLAIMS) == 38 and (table["status"] == STATUSES[3]).all()
    assert table["published"].notna().sum() == len(CLAIMS) - 1, "of lambda no number is published"


@pytest.mark.slow
def test_what_is_read_has_every_claim_and_no_half_interval():
    nothing = paper_map(None, {})
    assert (tables.map_table(nothing)["ours"] == "–").all()
    arms = {arm: [Trained(arm, seed=seed) for seed in range(3)] for arm in ("hybrid", "mlm")}
    table = tables.map_table(paper_map(ours(), arms))
    assert list(table.index) == list(CLAIMS["claim"])
    assert list(table.columns) == ["published", "ours", "status", "notebook"]
    assert table["ours"].str.contains("[", regex=False).sum() >= 37
    one_seed = paper_map(ours(seeds=1), {a: arms[a][:1] for a in arms})
    counted = tables.map_table(one_seed)["ours"].iloc[-2]
    assert counted == "1.900", "operations of one seed: counted, no interval"
    both = [nothing.assign(architecture="as published"), one_seed.assign(architecture="modern")]
    first, second = tables.map_tables(pd.concat(both))
    assert first.caption == "All claims, modern." and second.caption.endswith("as published.")
    groups = findings.groups_table(pd.concat(both))
    assert groups.to_numpy().sum() == 2 * len(CLAIMS), "every claim has a group"
    assert (groups["as published"]["?"].sum(), groups["modern"]["✓"].sum() > 0) == (38, True)


def test_every_table_and_figure_with_numbers_has_a_claim():
    places = " ".join(paper_map(None, {})["where"])
    for number in range(3, 12):
        assert f"Table {number}" in places
    for number in range(2, 11):
        assert f"Figure {number}" in places


def test_every_claim_points_to_a_section_that_is_there():
    for cell in paper_map(None, {})["cell"]:
        number, section = cell.split(" · ")
        (file,) = NOTEBOOKS.glob(f"{number}_*.py")
        assert f"# ## {section}" in file.read_text(encoding="utf-8"), cell


def ours(published_times=1.0, seeds=3):
    """The published numbers as if they were ours, with a tiny difference between seeds."""
    scores = published.linear_probe().melt(["task", "metric"], ["hybrid", "mlm"], "model")
    scores = scores.assign(metric="linear_probe", pooling="mean")
    values = pd.concat([published_geometry(), scores])
    parts = [
        values.assign(seed=seed, value=values["value"] * (published_times + 0.001 * seed))
        for seed in range(seeds)
    ]
    table = pd.concat(parts).assign(low=0.0, high=0.0, dim=512, note="", n=800)
    return Geometry(table.assign(title=table["task"]), {}, {})


class Trained:
    """As much of a run as the map reads."""

    def __init__(self, arm, lam=0.7, seed=0):
        self.facts = {"seed": seed}
        self.metrics = {"flops": 290.0 if arm == "hybrid" else 100.0, "steps": 1000}
        self.metrics |= {"validation_unigram": 7.0, "validation_mlm": 6.0}
        self.recipe = recipes.get("demo", arm=arm, max_steps=1000)
        self.history = pd.DataFrame({"step": [1, 1000], "lam": [0.5, lam]})


def _stuck():
    run = Trained("mlm")
    run.metrics |= {"validation_mlm": 6.99}
    return run


def test_with_the_published_numbers_as_ours_every_claim_reproduces_itself():
    arms = {arm: [Trained(arm, seed=seed) for seed in range(3)] for arm in ("hybrid", "mlm")}
    table = paper_map(ours(), arms).set_index("claim")
    claimed = table.iloc[: len(DIFFERENCES)]
    assert (claimed["status"] == "reproduced").all() and (claimed["seeds"] == 3).all()
    cells = table.loc["More uniform on every task under every pooling (cells)"]
    assert cells["status"] == "reproduced" and cells["value"] == cells["published"] == 20
    cost = table.loc["Identical compute budgets (hybrid's operations over MLM-only's, less 1)"]
    assert cost["value"] == pytest.approx(1.9) and cost["status"] == "not reproduced"


def test_one_cell_the_other_way_round_refutes_all_cells():
    arms = {arm: [Trained(arm, seed=seed) for seed in range(3)] for arm in ("hybrid", "mlm")}
    measured = ours()
    cell = measured.table.eval("task == 'mrpc' and pooling == 'max' and metric == 'uniformity'")
    measured.table.loc[cell, "value"] *= -1
    row = paper_map(measured, arms).set_index("claim").filter(like="every pooling", axis=0).iloc[0]
    assert row["status"] == STATUSES[2] and row["value"] == 19
    (stuck,) = paper_map(measured, arms | {"mlm": [_stuck()]}).iloc[[-3]]["status"]
    assert stuck == STATUSES[3]


def test_operations_are_compared_seed_by_seed():
    arms = {"hybrid": [Trained("hybrid", seed=1)], "mlm": [Trained("mlm", seed=2)]}
    assert paper_map(None, arms).iloc[-2]["why"] == "no runs on disk"
    one = paper_map(None, {arm: [Trained(arm)] for arm in ("hybrid", "mlm")}).iloc[-2]
    assert one["status"] == STATUSES[2] and pd.isna(one["low"]), "one seed has no interval"


@pytest.mark.parametrize(
    ("lams", "status"),
    [
        (["predicted"], STATUSES[2]),
        ([0.9999], STATUSES[0]),
        ([0.9999, 0.9998, 0.9999], STATUSES[0]),
        (["predicted", 0.9999], STATUSES[3]),
    ],
)
def test_a_balance_that_the_schedule_predicts_is_not_learned(lams, status):
    (end,) = lambda_before(Trained("hybrid").recipe, 1000, [1000])
    runs = [Trained("hybrid", end if lam == "predicted" else lam) for lam in lams]
    assert paper_map(None, {"hybrid": runs}).iloc[-1]["status"] == status


def test_an_arm_on_the_plateau_decides_nothing():
    table = paper_map(ours(), {"hybrid": [Trained("hybrid")], "mlm": [_stuck()]})
    between = (DIFFERENCES["against"] == "").to_numpy()
    assert (table.iloc[: len(DIFFERENCES)][between]["status"] == STATUSES[3]).all()
    within = table.iloc[: len(DIFFERENCES)][~between]
    assert (within["status"] == "reproduced").all(), "the hybrid alone is compared with itself"
