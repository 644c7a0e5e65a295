"""For tests/ and for nbval over notebooks/: scratch folders, the smoke preset, no hub."""

import os
import shutil
import tempfile

_SCRATCH = tempfile.mkdtemp(prefix="predrecon-tests-")
_ENVIRONMENT = {
    "PREDRECON_PRESET": "smoke",
    "PREDRECON_RUNS": f"{_SCRATCH}/runs",
    "PREDRECON_FIGURES": f"{_SCRATCH}/figures",
    "HF_HUB_OFFLINE": "1",
}


def pytest_configure(config):
    """Set before nbval starts its kernels, which inherit it. What is set already wins."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.pop("PREDRECON_DATA", None)  # results must not depend on local data


def pytest_unconfigure(config):
    shutil.rmtree(_SCRATCH, ignore_errors=True)


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
