"""Training explorer (notebooks 02 and 03)."""

import threading
import weakref
from pathlib import Path

from predrecon.audit.snapshots import along
from predrecon.data import paths
from predrecon.data.tasks import Task
from predrecon.workbook.figures.training import AXES, training_view
from predrecon.workbook.widgets import controls
from predrecon.workbook.widgets.explorer import Explorer, Picture

_EVERY = 2.0  # seconds between looks at runs that go on


def training_explorer(
    shown: list[Path] | None = None, *, task: Task | None = None, tokenizer=None
) -> Explorer:
    """Runs, smoothing and axis at choice; with "live" the curves follow runs that go on.

    Args:
        shown: folders of the runs chosen at first; default the newest two.
        task, tokenizer: measure uniformity and effective rank of encoders on the way (snapshots)
            on its validation split; without them those panels stay empty.
    """
    there = {folder.name: folder for folder in [*(shown or []), *begun(paths.runs_dir())]}
    if not there:
        raise ValueError(f"No run in {paths.runs_dir()}: train one first (notebook 02).")
    first = list(dict.fromkeys(f.name for f in shown)) if shown else list(there)[:2]

    def draw(chosen, smooth, axis, live) -> Picture:
        if not chosen:
            raise ValueError("No run is chosen: choose one or several (Ctrl or Shift and click).")
        short = _short(chosen)
        told = {short[run]: along(there[run], task, tokenizer) for run in chosen}
        histories = {run: history for run, (history, _) in told.items()}
        arms = {run: arm for run, (_, arm) in told.items()}
        rows = ", ".join(f"{run}: step {int(h['step'].iloc[-1]):,}" for run, h in histories.items())
        figure = training_view(histories, arms, axis=axis, smooth=smooth)
        return Picture(figure, below=f"<small>{rows}</small>", label=f"Training curves; {rows}")

    chosen = {
        "chosen": controls.several("Runs", there, "run folders", value=first),
        "smooth": controls.number("Smoothing", 1, 51, "running median over so many rows", value=5),
        "axis": controls.choice("Against", AXES, "horizontal axis", value="tokens"),
        "live": controls.tick("live", f"look again every {_EVERY:g} s"),
    }
    explorer = Explorer(draw, chosen, keep=False)
    _follow(explorer, there)
    return explorer


def _short(names) -> dict[str, str]:
    """Names of runs without the words that all of them begin with."""
    words = [name.split("-") for name in names]
    same = 0
    shortest = min(map(len, words))
    while same < shortest - 1 and len({tuple(w[: same + 1]) for w in words}) == 1 < len(words):
        same += 1
    return {name: "-".join(w[same:]) for name, w in zip(names, words, strict=True)}


def begun(root: Path) -> list[Path]:
    """Folders of runs that have logged a step, the newest first."""
    files = [file for file in root.glob("*/history.csv") if file.stat().st_size]
    return [file.parent for file in sorted(files, key=lambda f: -f.stat().st_mtime)]


def _follow(explorer: Explorer, there: dict[str, Path]):
    """While "live" is ticked look again every few seconds, until all chosen runs are finished."""
    stop, alive = threading.Event(), weakref.ref(explorer)

    def look(change: dict):
        stop.set()
        if change["new"]:
            stop.clear()
            threading.Thread(target=again, daemon=True).start()

    def again():
        while not stop.wait(_EVERY) and (explorer := alive()) is not None:
            _offer_new(explorer.controls["chosen"], there)
            explorer.redraw()
            chosen = explorer.controls["chosen"].value
            if chosen and all((there[run] / "metrics.json").is_file() for run in chosen):
                explorer.controls["live"].value = False

    explorer.controls["live"].observe(look, names="value")


def _offer_new(control, there: dict[str, Path]):
    """Runs that began meanwhile join the list."""
    new = {f.name: f for f in begun(paths.runs_dir()) if f.name not in there}
    if new:
        there |= new
        kept = control.value
        control.options = list(there)  # takes the choice back
        control.value = kept
