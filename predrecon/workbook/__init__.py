"""What the notebooks show: tables, figures, widgets, pages without a kernel, the command line."""
