"""Shared fixtures. Runs go to temporary folders, the corpus to its usual cache."""

import pytest


@pytest.fixture(scope="session")
def corpus():
    from predrecon.data.corpus import load_corpus

    return load_corpus()


@pytest.fixture(scope="session")
def smoke_runs(corpus, tmp_path_factory):
    """Both arms of the smoke preset, `{arm: Run}`."""
    from predrecon import recipes
    from predrecon.training.loop import pretrain

    root = tmp_path_factory.mktemp("runs")
    return {
        arm: pretrain(recipes.get("smoke", arm=arm), corpus, root / arm, seed=0)
        for arm in ("hybrid", "mlm")
    }


@pytest.fixture(scope="session")
def labelled(corpus):
    """One task of each kind, cut short."""
    from predrecon.data import tasks

    short = []
    for name in ("docs-swap", "docs-relation", "docs-overlap"):
        task = tasks.load_task(name)
        parts = dict(train=task.train.head(150), validation=task.validation.head(120))
        fields = (task.name, task.title, task.metric, task.classes, 2)
        short.append(tasks.Task(*fields, **parts))
    return short


@pytest.fixture(scope="session")
def compared(corpus, smoke_runs):
    """Both arms and the untrained encoder."""
    from predrecon.audit import encoders

    return encoders.models(smoke_runs, corpus.tokenizer, untrained=True)


@pytest.fixture(scope="session")
def geometry(compared, labelled):
    """Both arms on all of `labelled`."""
    from predrecon.audit.geometry import measure_all

    return measure_all(compared[:2], labelled)
