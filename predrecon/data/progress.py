"""One clean line per long step, with an estimate of what is left, in a notebook or a terminal."""

import os
import sys
import time
from pathlib import Path


class Progress:
    """A line that is rewritten in place and stays when the step is done.

    In a notebook it is a single display that is updated (so a saved notebook keeps one line, not
    hundreds); in a terminal the line is overwritten; in a log only the last state is printed. If
    `PREDRECON_PROGRESS` names a file, the line is also left there for a watching process.

    Args:
        label: what is going on.
        total: how many units make the whole; 0 where that is not known.
        unit: name of one unit in the plural.
        quiet: show nothing (in all but one of several processes).
    """

    def __init__(self, label: str, total: int, unit: str, *, quiet: bool = False):
        self.label, self.total, self.unit, self.quiet = label, total, unit, quiet
        self.started = self.shown = time.monotonic()
        self.first: int | None = None  # where this process began: a resumed step is not our speed
        self.done, self.note = 0, ""
        self.mirror = os.environ.get("PREDRECON_PROGRESS")
        self.handle = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind, *_):
        self._show(self._line("stopped" if kind else "done"), last=True)

    def update(self, done: int, note: str = ""):
        """Tell how many units are done; at most two redraws a second."""
        if self.first is None:
            self.first = done
        self.done, self.note = done, note
        now = time.monotonic()
        if now - self.shown >= 0.5:
            self.shown = now
            self._show(self._line())

    def _line(self, end: str = "") -> str:
        spent = time.monotonic() - self.started
        worked = self.done - (self.first or 0)
        counts, share, state = f"{self.done:,} {self.unit}", "", ""
        if self.total:
            counts = f"{self.done:,}/{self.total:,} {self.unit}"
            share = f"{min(1.0, self.done / self.total):.0%}"
            if worked > 0:
                state = f"{_clock(spent / worked * max(0, self.total - self.done))} left"
        state = f"{end} in {_clock(spent)}" if end else state
        return " · ".join(part for part in (self.label, share, counts, self.note, state) if part)

    def _show(self, line: str, last: bool = False):
        if self.quiet:
            return
        if self.mirror:
            Path(self.mirror).write_text(line, encoding="utf-8")
        if _in_notebook():
            self._show_in_notebook(line)
        elif sys.stderr.isatty():
            print(f"\r\x1b[2K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last:
            print(line, file=sys.stderr, flush=True)

    def _show_in_notebook(self, line: str):
        from IPython.display import display

        bundle = {"text/plain": line}
        if self.handle is None:
            self.handle = display(bundle, raw=True, display_id=True)
        else:
            self.handle.update(bundle, raw=True)


def each_pair(label: str, tasks: list, compared: list):
    """All pairs of a task and a model, under one progress line."""
    pairs = [(task, model) for task in tasks for model in compared]
    with Progress(label, len(pairs), "encoders × tasks") as progress:
        for number, (task, model) in enumerate(pairs):
            progress.update(number, f"{task.title}, {model.name}")
            yield task, model
        progress.update(len(pairs))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return shell is not None and hasattr(shell, "kernel")
