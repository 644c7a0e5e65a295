"""For tests/ and for nbval over notebooks/: scratch folders, the smoke preset, no hub."""

import os
import shutil
import tempfile

_SCRATCH = "PREDRECON_TESTS"  # a variable: the folder that this session made and will remove


def pytest_configure(config):
    """Set before nbval starts its kernels and xdist its workers, which inherit it.

    What is set already wins. Two processes of one thread each finish sooner on two cores than two
    of two threads, which wait for each other.
    """
    if not hasattr(config, "workerinput"):
        os.environ[_SCRATCH] = tempfile.mkdtemp(prefix="predrecon-tests-")
        if getattr(config.option, "numprocesses", None):
            os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = {
        "PREDRECON_PRESET": "smoke",
        "PREDRECON_RUNS": f"{os.environ[_SCRATCH]}/runs",
        "PREDRECON_FIGURES": f"{os.environ[_SCRATCH]}/figures",
        "HF_HUB_OFFLINE": "1",
    }
    if not os.access(".", os.W_OK):  # a checkout that is only read
        settings["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{os.environ[_SCRATCH]}/hypothesis"
    for name, value in settings.items():
        os.environ.setdefault(name, value)
    os.environ.pop("PREDRECON_DATA", None)  # results must not depend on local data


def pytest_unconfigure(config):
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ.pop(_SCRATCH), ignore_errors=True)


def pytest_collectstart(collector):
    """nbval: outputs that cannot be compared as text."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += (
            "application/vnd.plotly.v1+json",
            "application/vnd.jupyter.widget-view+json",
            "text/html",
            "image/png",
            "stderr",
        )
