"""Shared fixtures: everything is written under a temporary folder, but for the corpus cache."""

import os
import tempfile

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test needs the hub; those about it say otherwise


def pytest_configure(config):
    """Runs and figures of the notebooks go to a scratch folder, trained with the preset `smoke`.

    Set before nbval starts its kernels, which inherit the environment. An explicit setting wins.
    """
    scratch = tempfile.mkdtemp(prefix="predrecon-tests-")
    os.environ.setdefault("PREDRECON_PRESET", "smoke")
    os.environ.setdefault("PREDRECON_RUNS", f"{scratch}/runs")
    os.environ.setdefault("PREDRECON_FIGURES", f"{scratch}/figures")
    os.environ.pop("PREDRECON_DATA", None)  # the suite's results must not depend on local data


@pytest.fixture(scope="session")
def corpus():
    from predrecon.corpus import load_corpus

    return load_corpus()


@pytest.fixture(scope="session")
def smoke_runs(corpus, tmp_path_factory):
    """Both arms of the smoke preset, `{arm: Run}`."""
    from predrecon import recipes
    from predrecon.training import pretrain

    root = tmp_path_factory.mktemp("runs")
    return {
        arm: pretrain(recipes.get("smoke", arm=arm), corpus, root / arm, seed=0)
        for arm in ("hybrid", "mlm")
    }
