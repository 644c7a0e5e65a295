"""One clean line per long step, with an estimate of what is left, in a notebook or a terminal."""

import os
import sys
import time
from pathlib import Path

_LOGGED = 60  # seconds between two lines in a log


class Progress:
    """A line that is rewritten in place and stays when the step is done.

    In a notebook it is a single display that is updated (so a saved notebook keeps one line, not
    hundreds); in a terminal the line is overwritten; in a log it is printed once a minute and when
    the step is done. If `PREDRECON_PROGRESS` names a file, the line is also written there for a
    watching process, until that fails, which is reported once.
    `total` is 0 if unknown; all but one of several processes are `quiet`.
    """

    def __init__(self, label: str, total: int, unit: str, *, quiet: bool = False):
        self.label, self.total, self.unit, self.quiet = label, total, unit, quiet
        self.started = self.shown = self.logged = time.monotonic()
        self.first: int | None = None  # a resumed step does not begin at 0
        self.done, self.note, self.display = 0, "", None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind, *_):
        spent = _clock(time.monotonic() - self.started)
        self._show(f"{'stopped' if kind else 'done'} in {spent}", last=True)

    def update(self, done: int, note: str = ""):
        """Report how many units are done; redraws at most twice a second."""
        if self.first is None:
            self.first = done
        self.done, self.note = done, note
        now = time.monotonic()
        if now - self.shown < 0.5:
            return
        self.shown, state = now, ""
        if self.total and done > self.first:
            per_unit = (now - self.started) / (done - self.first)
            state = f"{_clock(per_unit * max(0, self.total - done))} left"
        self._show(state)

    def _show(self, state: str, last: bool = False):
        if self.quiet:
            return
        parts = [self.label, f"{self.done:,} {self.unit}", self.note, state]
        if self.total:
            share = f"{min(1.0, self.done / self.total):.0%}"
            parts[1:2] = share, f"{self.done:,}/{self.total:,} {self.unit}"
        line = " · ".join(filter(None, parts))
        if watched := os.environ.get("PREDRECON_PROGRESS"):
            try:
                Path(watched).write_text(line, encoding="utf-8")
            except OSError as error:
                del os.environ["PREDRECON_PROGRESS"]
                print(f"Not watched: {watched}: {error.strerror}.", file=sys.stderr)
        shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
        if hasattr(shell, "kernel"):
            from IPython.display import display

            if self.display:
                self.display.update({"text/plain": line}, raw=True)
            else:
                self.display = display({"text/plain": line}, raw=True, display_id=True)
        elif sys.stderr.isatty():
            print(f"\r\x1b[2K{line}", end="\n" if last else "", file=sys.stderr, flush=True)
        elif last or time.monotonic() - self.logged >= _LOGGED:
            self.logged = time.monotonic()
            print(line, file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def one_line(error: BaseException) -> str:
    """What an error says, in its first line; its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
