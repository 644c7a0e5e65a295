"""Shared fixtures. Runs go to temporary folders, the corpus to its usual cache."""

import pytest


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
