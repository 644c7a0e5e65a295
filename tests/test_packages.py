"""Our functions beside public packages, where those are installed (extra `compare`)."""

import numpy as np
import pytest

from predrecon.audit import packages
from predrecon.audit.packages import compare_packages, example_matrices


@pytest.fixture(scope="module")
def table():
    return compare_packages()


@pytest.mark.parametrize("package", ["IsoScore", "reptrix", "ckatorch", "repsim", "scipy"])
def test_what_differs_differs_by_convention_alone(table, package):
    pytest.importorskip(package)
    rows = table[table["package"] == package]
    assert len(rows) and (rows["version"] != "not installed").all()
    np.testing.assert_allclose(rows["as_theirs"], rows["theirs"], rtol=1e-6)  # float32 there


def test_other_conventions_are_other_numbers(table):
    other = table[table["as_theirs"] != table["ours"]]
    assert set(other["metric"]) == {"RankMe", "LiDAR", "Procrustes distance"}
    assert not other["convention"].str.startswith(packages._SAME).any()
    rest = table.drop(other.index)
    assert rest["convention"].str.startswith(packages._SAME).all()


def test_what_is_not_installed_says_so(monkeypatch):
    def version(name):
        raise packages.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(packages.importlib.metadata, "version", version)
    table = compare_packages({"one": example_matrices()["isotropic"]})
    assert set(table["version"]) == {"not installed"} and table["theirs"].isna().all()
    assert table["ours"].notna().all() and set(table["matrix"]) == {"one"}


def test_matrices_that_are_too_small_are_named():
    with pytest.raises(ValueError, match=r"Matrix 'mine' has shape \(100, 128\): expected"):
        compare_packages({"mine": np.ones((100, 128))})
