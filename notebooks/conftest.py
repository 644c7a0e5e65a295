"""nbval: outputs that cannot be compared as text."""


def pytest_collectstart(collector):
    if collector.fspath and collector.fspath.ext == ".ipynb":
        collector.skip_compare += (
            "application/vnd.plotly.v1+json",
            "application/vnd.jupyter.widget-view+json",
            "text/html",
            "stderr",
        )
