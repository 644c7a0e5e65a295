"""A claim's status follows from an interval, and from nothing else."""

import pandas as pd
import pytest

from predrecon.evidence import Geometry
from predrecon.paper_map import CLAIMS, STATUSES, decide, paper_map
from predrecon.uncertainty import Interval


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
    assert len(table) == len(CLAIMS) and (table["status"] == STATUSES[3]).all()
    assert table["published"].notna().all()


def test_with_the_published_numbers_as_ours_every_claim_reproduces_itself():
    """Ours = published, three seeds a hair apart: all differences must read reproduced."""
    from predrecon import analysis

    told = analysis.published_geometry()
    parts = [
        told.assign(seed=seed, value=told["value"] * (1 + 0.001 * seed), title=told["task"], n=800)
        for seed in range(3)
    ]
    table = pd.concat(parts).assign(low=0.0, high=0.0, dim=512, note="")
    found = paper_map(Geometry(table, {}, {}), {"hybrid": 1.0, "mlm": 1.0})
    by_kind = found.assign(alike=[c.similar is not None for c in CLAIMS])
    assert (by_kind[~by_kind["alike"]]["status"] == "reproduced").all()
    assert set(found["status"]) <= set(STATUSES) and (found["seeds"] == 3).all()
