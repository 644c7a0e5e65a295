"""Curves that grow in the cell that trains, and the training explorer (notebooks 02 and 03)."""

import itertools
import threading
import time
import weakref
from pathlib import Path

import pandas as pd

from predrecon.audit.snapshots import along
from predrecon.data import paths
from predrecon.data.tasks import Task
from predrecon.workbook.figures import show
from predrecon.workbook.figures.training import AXES, training_curves, training_view
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Picture

_FIRST = (
    "set <i>Against</i> to FLOPs: the arm that spends more per token extends further right; set "
    "<i>Smoothing</i> to 1: the noise of single batches appears; tick <i>live</i> while a run "
    "trains: its curves grow."
)
EVERY = 2.0  # seconds between updates of unfinished runs


class LiveCurves:
    """`on_log` callback that redraws the curves of `arm` in place `every` few seconds.

    Finished runs, `{arm: history}`, are drawn together with the growing one.
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
            self.handle = show(training_curves(histories), self.handle)


def training_explorer(
    initial: list[Path] | None = None, *, task: Task | None = None, tokenizer=None
) -> Explorer:
    """Choose runs, smoothing and axis; with "live" the curves follow runs in training.

    Args:
        initial: folders of the runs chosen at first; default: the newest two.
        task, tokenizer: measure uniformity and effective rank of snapshots on the task's validation
            split; without them those panels stay empty.
    """
    folders = {folder.name: folder for folder in [*(initial or []), *begun(paths.runs_dir())]}
    if not folders:
        raise ValueError(f"No run in {paths.runs_dir()}: train one first (notebook 02).")
    first = dict.fromkeys(f.name for f in initial) if initial else list(folders)[:2]

    def draw(chosen, smooth, axis, live) -> Picture:
        if not chosen:
            raise ValueError("No run is chosen: choose one or several (Ctrl or Shift and click).")
        runs = {run: along(folders[run], task, tokenizer) for run in chosen}
        names = dict(zip(runs, _short(chosen), strict=True))
        histories = {names[run]: history for run, (history, _) in runs.items()}
        arms = {names[run]: arm for run, (_, arm) in runs.items()}
        rows = ", ".join(f"{run}: {_reached(history)}" for run, history in histories.items())
        figure = training_view(histories, arms, axis=axis, smooth=smooth)
        return Picture(figure, numbers=f"<small>{rows}</small>", label=f"Training curves; {rows}")

    chosen = {
        "chosen": controls.multiple("Runs", list(folders), "run folders", first),
        "smooth": controls.number("Smoothing", 1, 51, "rows of the running median", 5),
        "axis": controls.choice("Against", list(AXES), "horizontal axis", value="tokens"),
        "live": controls.tick("live", f"look again every {EVERY:g} s"),
    }
    explorer = Explorer(draw, chosen, _FIRST, keep=False)
    _follow(explorer, folders)
    return explorer


def _reached(history: pd.DataFrame) -> str:
    """The last step, and what the monitor last saw."""
    states = history["state"].dropna() if "state" in history else []
    seen = f", {states.iloc[-1]}" if len(states) else ""
    return f"step {int(history['step'].iloc[-1]):,}{seen}"


def _short(names: tuple[str, ...]) -> list[str]:
    """Names of runs without the words that all of them begin with."""
    words = [name.split("-") for name in names]
    columns = zip(*(each[:-1] for each in words), strict=False)  # the last word stays
    same = itertools.takewhile(lambda column: len(set(column)) == 1 < len(column), columns)
    count = len(list(same))
    return ["-".join(each[count:]) for each in words]


def begun(root: Path) -> list[Path]:
    """Folders of runs that have logged a step, the newest first."""
    files = [file for file in root.glob("*/history.csv") if file.stat().st_size]
    return [file.parent for file in sorted(files, key=lambda f: -f.stat().st_mtime)]


def _follow(explorer: Explorer, folders: dict[str, Path]):
    """While "live" is ticked, update every few seconds, until all chosen runs are finished.

    New runs are added to the list.
    """
    stop, alive = threading.Event(), weakref.ref(explorer)

    def look(change: dict):
        stop.set()
        if change["new"]:
            stop.clear()
            threading.Thread(target=again, daemon=True).start()

    def again():
        while not stop.wait(EVERY) and (explorer := alive()) is not None:
            control = explorer.controls["chosen"]
            chosen = control.value
            if new := {f.name: f for f in begun(paths.runs_dir()) if f.name not in folders}:
                folders.update(new)
                control.options = list(folders)  # resets the choice
                control.value = chosen
            explorer.redraw()
            if chosen and all((folders[run] / "metrics.json").is_file() for run in chosen):
                explorer.controls["live"].value = False

    explorer.controls["live"].observe(look, names="value")
