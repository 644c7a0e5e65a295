"""What the notebooks show: tables, figures, widgets, pages without a kernel, the command line."""

__all__ = ["Notebook"]


def __getattr__(name: str):
    if name in __all__:  # imported on first use, so that importing the package is cheap
        from predrecon.workbook.notebook import Notebook

        return Notebook
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
