"""A run's folder, and what explains it.

recipe.json         seed, corpus and recipe, written when the run begins
environment.json    versions, device, commit of the code, of the last start
history.csv         one row a logged step, flushed as it goes
checkpoints/        see `checkpoints`
snapshots/step-*/   encoders on the way, if asked for, with their held-out losses
model.safetensors, config.json, tokenizer.json, ...     the finished model
metrics.json        held-out losses, tokens, wall seconds, operations: written last
"""

import contextlib
import csv
import io
import json
import os
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from predrecon.data.files import sync, write_text
from predrecon.model import Encoder, PredictReconstruct, untrained
from predrecon.recipes import Recipe

BOOKKEEPING = (
    "log_every", "checkpoint_every", "checkpoint_minutes", "keep_last", "snapshots",
    "validation_blocks",
)  # fmt: skip
MAY_DIFFER = (*BOOKKEEPING, "precision", "compile")
"""Fields of a recipe that a resumed run may change, if it says so."""


@dataclass(frozen=True)
class Run:
    """A finished pre-training run on disk: weights, tokenizer, recipe, history and metrics.

    `AutoModel.from_pretrained(run.folder)` opens its encoder.
    """

    folder: Path

    @property
    def facts(self) -> dict:
        """Seed, corpus, recipe, as written when the run began (`recipe.json`)."""
        return json.loads((self.folder / "recipe.json").read_text(encoding="utf-8"))

    @property
    def recipe(self) -> Recipe:
        known = {f.name for f in fields(Recipe)}
        told = {k: v for k, v in self.facts["recipe"].items() if k in known}
        return Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in told.items()})

    @property
    def history(self) -> pd.DataFrame:
        """One row a logged step; `step` counts finished steps, `tokens` the tokens they saw."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def metrics(self) -> dict:
        """Held-out losses in nats, steps, tokens, wall seconds (`metrics.json`)."""
        return json.loads((self.folder / "metrics.json").read_text(encoding="utf-8"))

    def model(self) -> PredictReconstruct:
        with quiet_transformers():
            return PredictReconstruct.from_pretrained(self.folder).eval()

    def encoder(self) -> Encoder:
        with quiet_transformers():
            return Encoder.from_pretrained(self.folder).eval()

    @property
    def snapshots(self) -> list[Path]:
        """Folders of the encoders kept on the way, in order; each opens with `AutoModel`."""
        return sorted((self.folder / "snapshots").glob("step-*"))

    def untrained_encoder(self) -> Encoder:
        """The encoder as it was before the first step."""
        return untrained(self.encoder(), self.facts["seed"])


def snapshot_folder(out_dir: Path, step: int) -> Path:
    return out_dir / "snapshots" / f"step-{step:08d}"


def facts(recipe: Recipe, seed: int, corpus_fingerprint: str) -> dict:
    """What `recipe.json` holds: everything that the weights are a function of."""
    return {"seed": seed, "corpus": corpus_fingerprint, "recipe": asdict(recipe)}


def claim(out_dir: Path, told: dict, resume: bool, may_differ: tuple[str, ...] = ()):
    """Write recipe.json, or check that the one there says the same.

    Raises:
        FileExistsError: the folder holds a run and `resume` is False.
        ValueError: it holds a run of another recipe, seed or corpus (differences listed), or
            `may_differ` names a field that the weights depend on.
    """
    if fixed := set(may_differ) - set(MAY_DIFFER):
        raise ValueError(
            f"may_differ={sorted(fixed)}: the weights depend on it. "
            f"What may differ: {', '.join(MAY_DIFFER)}."
        )
    file = out_dir / "recipe.json"
    before = _claimed(out_dir)
    if before is None:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(told, indent=1))
        return
    if not resume:
        raise FileExistsError(
            f"{out_dir} already holds a run. Pass resume=True to go on with it, or another folder."
        )
    plain = {f.name: f.default for f in fields(Recipe) if f.name != "preset"}
    before["recipe"] = plain | before["recipe"]  # a run from before a field was thought of
    there, here = flat(before), flat(json.loads(json.dumps(told)))
    named = ("corpus_name", "tokenizer")  # the fingerprint of the text is compared instead
    differing = [
        k for k in here | there
        if here.get(k) != there.get(k) and k not in may_differ and k not in named
    ]  # fmt: skip
    if differing:
        listed = "; ".join(f"{k}: {there.get(k)!r} there, {here.get(k)!r} asked" for k in differing)
        harmless = [k for k in differing if k in MAY_DIFFER]
        way_out = "Use another folder."
        if harmless == differing:
            way_out = (
                f"Use another folder, or pass may_differ={tuple(harmless)} (on the command line "
                f"--may-differ {','.join(harmless)}) to change it here."
            )
        raise ValueError(f"{out_dir} holds another run ({listed}). {way_out}")
    if before != json.loads(json.dumps(told)) and not (out_dir / "metrics.json").is_file():
        write_text(file, json.dumps(told, indent=1))


def _claimed(out_dir: Path) -> dict | None:
    """What recipe.json says; where it is lost or damaged, what the newest checkpoint says."""
    files = [out_dir / "recipe.json", *sorted(out_dir.glob("checkpoints/*/checkpoint.json"))[::-1]]
    for file in files:
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            return {name: told[name] for name in ("seed", "corpus", "recipe")}
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


@contextlib.contextmanager
def alone(out_dir: Path):
    """Hold a run's folder for this process.

    Raises:
        RuntimeError: another process trains in it.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out_dir / ".lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RuntimeError(
            f"Another process trains in {out_dir}. Wait for it, stop it, or use another folder."
        ) from None
    try:
        yield
    finally:
        lock.release()


def append_history(out_dir: Path, row: dict):
    """Add a row to history.csv, with a header before the first."""
    file = out_dir / "history.csv"
    text = io.StringIO()
    writer = csv.DictWriter(text, row, lineterminator="\n")
    if not file.is_file() or file.stat().st_size == 0:
        writer.writeheader()
    writer.writerow(row)
    with file.open("a", encoding="utf-8") as out:
        out.write(text.getvalue())


def cut_history(out_dir: Path, step: int, log_every: int):
    """Leave the rows up to a step; later ones and a half-written last line are cut from the file.

    Warns:
        UserWarning: there should be rows, and there are none.
    """
    file = out_dir / "history.csv"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    header, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    names = header.split(",")
    rows = [line.split(",") for line in lines]
    whole = [row for row in rows if len(row) == len(names) and row[0].isdigit()]
    kept = [row for row in whole if int(row[0]) <= step]
    if not kept and step >= log_every:
        warnings.warn(f"{file} is lost or empty: it begins again at step {step}.", stacklevel=2)
    if text:
        write_text(file, "".join(",".join(row) + "\n" for row in [names, *kept]) if kept else "")


def sync_history(out_dir: Path):
    """Wait until what history.csv holds is on the disk."""
    if (out_dir / "history.csv").is_file():
        sync(out_dir / "history.csv")


def writable(out_dir: Path):
    """Find out now, not after an hour, that nothing can be written.

    Raises:
        PermissionError: the folder is not writable.
    """
    probe = out_dir / f".probe-{os.getpid()}"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise PermissionError(
            f"{out_dir}: cannot be written to ({error.strerror}). Use another folder."
        ) from None


@contextlib.contextmanager
def quiet_transformers():
    """No progress bars for files that take milliseconds."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def flat(told: dict) -> dict:
    """Seed, fingerprint and recipe on one level; ranges as text."""
    recipe = {"corpus_name" if k == "corpus" else k: v for k, v in told["recipe"].items()}
    both = {k: v for k, v in told.items() if k != "recipe"} | recipe
    return {k: str(tuple(v)) if isinstance(v, (list, tuple)) else v for k, v in both.items()}
