"""Training curves that grow in the cell that trains (notebook 02)."""

import time

import pandas as pd

from predrecon.workbook import figures


class LiveCurves:
    """`on_log` callback that redraws training curves in place every few seconds.

    Args:
        histories: finished runs to draw beside the growing one, `{arm: history}`.
        arm: the arm that is being trained.
        every: seconds between redraws.
    """

    def __init__(self, arm: str, histories: dict[str, pd.DataFrame], *, every: float = 5.0):
        self.arm, self.histories, self.every = arm, histories, every
        self.rows: list[dict] = []
        self.handle, self.drawn = None, 0.0

    def __call__(self, row: dict):
        self.rows.append(row)
        if time.monotonic() - self.drawn >= self.every:
            self.drawn = time.monotonic()
            thin = self.rows[:: max(1, len(self.rows) // 500)]
            histories = {**self.histories, self.arm: pd.DataFrame(thin)}
            self.handle = figures.show(figures.training_curves(histories), self.handle)
