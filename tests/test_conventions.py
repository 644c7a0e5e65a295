"""Which conventions the published tables used, shown from the published numbers themselves."""

import math

import numpy as np
import pytest

from predrecon.audit import published
from predrecon.audit.geometry import published_geometry

KEYS = ["task", "pooling", "model"]
SAMPLES = {"sst2": 872, "cola": 1043, "mrpc": 408, "stsb": 1500, "mnli": 2000}
DIM = 512


@pytest.fixture(scope="module")
def paper():
    table = published_geometry()
    return table.pivot_table(index=KEYS, columns="metric", values="value")


def entropy(sigma, power):
    p = sigma**power / (sigma**power).sum()
    return -(p * np.log(p)).sum()


def brackets(paper, power):
    """The lowest and highest entropy `[40, 2]` that the published spectra allow.

    Consider all spectra with the known first 50 values and sum of squares. The one with the most
    concentrated rest majorises all others; all others majorise the one with a flat rest.
    """
    bounds = []
    spectra = published.singular_values().sort_values("rank").groupby(KEYS)["singular_value"]
    for key, row in paper.iterrows():
        first = spectra.get_group(key).to_numpy()
        rest = row["stable_rank"] * first[0] ** 2 - (first**2).sum()
        full, last = divmod(rest, first[-1] ** 2)
        steep = np.array([*first, *[first[-1]] * int(full), math.sqrt(last)])
        more = min(SAMPLES[key[0]], DIM) - len(first)
        flat = np.array([*first, *[math.sqrt(rest / more)] * more])
        assert len(steep) <= len(flat)
        bounds.append((entropy(steep, power), entropy(flat, power)))
    return np.array(bounds)


def inside(values, bracket):
    return int(((bracket[:, 0] <= values) & (values <= bracket[:, 1])).sum())


def test_spectral_entropy_was_published_from_squares_over_log_min_n_d(paper):
    values, largest = paper["spectral_entropy_sigma2"].to_numpy(), {}
    largest["dim"] = np.log(DIM)
    largest["min"] = np.log([min(SAMPLES[task], DIM) for task, _, _ in paper.index])
    counts = {
        (power, by): inside(values * largest[by], brackets(paper, power))
        for power in (1, 2)
        for by in largest
    }
    assert counts == {(2, "min"): 40, (2, "dim"): 33, (1, "min"): 1, (1, "dim"): 2}


def test_effective_rank_was_published_with_power_one(paper):
    values = np.log(paper["effective_rank"].to_numpy())
    assert inside(values, brackets(paper, 1)) == 40
    assert inside(values, brackets(paper, 2)) == 0


def test_alignment_was_published_with_the_fourth_power(paper):
    """By Jensen E d^4 >= (E d)^4 and E d^2 >= (E d)^2. All values are below (E d)^2: none is E d^2.

    (E d^2)^2, the other way to read the brackets of Eq. 14, would pass as well.
    """
    intra, alignment = paper["intra_class_distance"], paper["alignment"]
    assert len(paper) == 40
    assert (intra**4 <= alignment).all()
    assert (intra**2 > alignment).all()


@pytest.mark.parametrize(
    ("task", "sizes"), [("sst2", (428, 444)), ("cola", (322, 721)), ("mrpc", (129, 279))]
)
def test_the_average_behind_published_alignments_is_open_and_does_not_matter(paper, task, sizes):
    """Over pairs of one class (Eq. 14), or over classes first (the public code)?

    No published number is of one class alone. If both classes were equally tight, both averages
    would agree with every value, so the numbers cannot decide; only the code does. But they bound
    the effect: classes of n1 and n2 texts have shares of the pairs, and if one average is the
    published A, the other lies within A (1 ± the difference of these shares). The arms differ by
    more than that, so by either average the hybrid's classes are less tight.
    """
    pairs = [n * (n - 1) / 2 for n in sizes]
    open_share = abs(pairs[0] - pairs[1]) / sum(pairs)
    assert open_share == pytest.approx({"sst2": 0.04, "cola": 0.67, "mrpc": 0.65}[task], abs=0.01)
    published = paper.loc[task, "alignment"].unstack("model")
    assert (published["hybrid"] * (1 - open_share) > published["mlm"] * (1 + open_share)).all()
    assert (paper["alignment"] == paper["alignment_by_class"]).all(), "shown beside both of ours"


def test_published_ratio_is_that_of_the_published_distances(paper):
    ratio = paper["intra_class_distance"] / paper["inter_class_distance"]
    assert np.allclose(ratio, paper["intra_inter_ratio"], atol=2e-4)
