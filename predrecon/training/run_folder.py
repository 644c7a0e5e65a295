"""A run's folder: where it is, who may train in it, and what it holds.

recipe.json         seed, corpus and recipe, written when the run begins
initial/            with `init`: what the run began with, a plain ModernBERT, and its source
environment.json    versions, device, commit of the code, as of the last start
history.csv         one row per logged step, flushed at once
checkpoints/        see `checkpoints`
snapshots/step-*/   encoders during training, if the recipe asks, with their held-out losses
model.safetensors, config.json, tokenizer.json, ...     the finished model
metrics.json        held-out losses, tokens, wall seconds, operations: written last
"""

import contextlib
import glob
import json
import re
import warnings
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pandas as pd
from filelock import FileLock, Timeout

from predrecon.data import paths
from predrecon.data.corpus import Corpus, save_tokenizer
from predrecon.data.documents import digest
from predrecon.data.files import build_folder, fitting, make_writable, remove_folder, write_text
from predrecon.model import Encoder, PredictReconstruct, untrained
from predrecon.recipes import Recipe, read, split_init
from predrecon.training import checkpoints, initial

BOOKKEEPING = (
    "log_every", "checkpoint_every", "checkpoint_minutes", "keep_last", "snapshots",
    "validation_blocks", "monitor_every",
)  # fmt: skip
MAY_DIFFER = (*BOOKKEEPING, "precision", "compile")
"""Fields of a recipe that a resumed run may change, if the caller allows it."""

_OF_CHANGE = ("log_every", "monitor_every", "validation_blocks")
"""Bookkeeping that says when, and on which text, `on_collapse` may change a run."""

_DEFAULTS = {field.name: field.default for field in fields(Recipe)}


@dataclass(frozen=True)
class Run:
    """A pre-training run on disk; `AutoModel.from_pretrained(run.folder)` opens its encoder."""

    folder: Path

    @property
    def facts(self) -> dict:
        """Seed, corpus, recipe, as written when the run began (`recipe.json`)."""
        return _read_json(self.folder / "recipe.json")

    @property
    def recipe(self) -> Recipe:
        """The run's recipe; fields that this version does not have are left out."""
        return Recipe(**{k: v for k, v in self.facts["recipe"].items() if k in _DEFAULTS})

    @property
    def history(self) -> pd.DataFrame:
        """One row per logged step; `step` counts finished steps, `tokens` the tokens they saw."""
        return pd.read_csv(self.folder / "history.csv")

    @property
    def finished(self) -> bool:
        return (self.folder / "metrics.json").is_file()

    @property
    def metrics(self) -> dict:
        """Held-out losses in nats, steps, tokens, wall seconds (`metrics.json`)."""
        return _read_json(self.folder / "metrics.json")

    @property
    def snapshots(self) -> list[Path]:
        """Folders of the encoders kept during training, in order; each opens with `AutoModel`."""
        return sorted((self.folder / "snapshots").glob("step-*"))

    def model(self) -> PredictReconstruct:
        with quiet_transformers():
            return PredictReconstruct.from_pretrained(self.folder).eval()

    def encoder(self) -> Encoder:
        with quiet_transformers():
            return Encoder.from_pretrained(self.folder).eval()

    def untrained_encoder(self) -> Encoder:
        """The encoder before the first step: drawn from the seed, or the recipe's `init`."""
        if (model := initial.load(self.folder)) is not None:
            return model.encoder
        return untrained(self.encoder(), self.facts["seed"])


def folder_of(recipe: Recipe, corpus: Corpus, seed: int) -> Path:
    """The run's folder: readable first, unique by a digest of what the weights depend on.

    The text counts, not its name: a path and its absolute form are one run. Likewise the weights
    that a run begins from count, not their name; `initial.fitted` must have read them (ValueError
    if not). Fields with the recipe's default are left out, so new fields do not move old runs.
    """
    folders = [
        paths.runs_dir() / f"{_name(recipe)}-seed{read('seed', seed)}-{key}"
        for key in _keys(recipe, corpus)
    ]
    return next(filter(Path.is_dir, folders), folders[0])


def _name(recipe: Recipe) -> str:
    stem = fitting(Path(recipe.corpus).stem, 218 - len(recipe.preset + recipe.arm))
    return f"{recipe.preset}-{stem}-{recipe.arm}"


def _keys(recipe: Recipe, corpus: Corpus) -> list[str]:
    """The digest, and the one of older runs, for which 5 epochs and 5.0 were two recipes."""
    left_out = {*BOOKKEEPING, "corpus", "tokenizer"}
    if recipe.on_collapse not in ("continue", "stop"):
        left_out -= set(_OF_CHANGE)
    values = asdict(recipe).items()
    values = {k: v for k, v in values if k not in left_out and v != _DEFAULTS[k]}
    if recipe.init:
        values["init"] = split_init(recipe.init)[1]
        if not values["init"]:
            raise ValueError(f"init={recipe.init!r}: call initial.fitted(recipe) first.")
    text = json.dumps([values, corpus.fingerprint], sort_keys=True)
    return [digest(t)[:8] for t in dict.fromkeys((text, re.sub(r"(\d)\.0\b", r"\1", text)))]


def finished_runs(recipe: Recipe, corpus: Corpus) -> list[Run]:
    """The finished runs of this recipe and corpus, of all seeds, sorted by seed."""
    name, root = glob.escape(_name(recipe)), paths.runs_dir()
    keys = _keys(recipe, corpus)
    files = (f for key in keys for f in root.glob(f"{name}-seed*-{key}/metrics.json"))
    runs = {run.facts["seed"]: run for run in map(Run, (file.parent for file in files))}
    return [runs[seed] for seed in sorted(runs)]


def claim(out_dir: Path, facts: dict, resume: bool, may_differ: tuple[str, ...] = ()):
    """Write recipe.json, or check that the one there says the same; errors as in `pretrain`.

    `may_differ` may not name a field that the weights depend on.
    """
    if fixed := set(may_differ) - set(MAY_DIFFER):
        raise ValueError(
            f"may_differ={sorted(fixed)}: the weights depend on it. "
            f"What may differ: {', '.join(MAY_DIFFER)}."
        )
    file, existing = out_dir / "recipe.json", _claimed(out_dir)
    if existing is None:
        out_dir.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(facts, indent=1))
        return
    if not resume:
        raise FileExistsError(
            f"{out_dir} already holds a run. Pass resume=True to continue it, or another folder."
        )
    defaults = {name: value for name, value in _DEFAULTS.items() if name != "preset"}
    existing["recipe"] = defaults | existing["recipe"]  # a run from before a field existed
    there, here = flatten(existing), flatten(facts)
    allowed = [*may_differ, "corpus_name", "tokenizer"]  # the fingerprint covers these
    if split_init(there["init"])[1] == split_init(here["init"])[1]:
        allowed.append("init")  # the same weights under another name
    differing = [k for k in here | there if here.get(k) != there.get(k) and k not in allowed]
    if differing:
        changes = (f"{k}: {there.get(k)!r} there, {here.get(k)!r} requested" for k in differing)
        way_out = "Use another folder."
        if set(differing) <= set(MAY_DIFFER):
            way_out = (
                f"Use another folder, or pass may_differ={tuple(differing)} (on the command line "
                f"--may-differ {','.join(differing)}) to change it here."
            )
        raise ValueError(f"{out_dir} holds another run ({'; '.join(changes)}). {way_out}")
    if there != here and not (out_dir / "metrics.json").is_file():
        write_text(file, json.dumps(facts, indent=1))


def _claimed(out_dir: Path) -> dict | None:
    """The facts in recipe.json or, if it is lost or damaged, in the newest checkpoint."""
    folders = reversed(checkpoints.folders(out_dir))
    for file in (out_dir / "recipe.json", *(folder / checkpoints.FACTS for folder in folders)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            facts = _read_json(file)
            return {name: facts[name] for name in ("seed", "corpus", "recipe")}
    return None


def flatten(facts: dict) -> dict:
    """Seed, fingerprint and recipe on one level; ranges as text."""
    recipe = {"corpus_name" if k == "corpus" else k: v for k, v in facts["recipe"].items()}
    flat = {"seed": facts["seed"], "corpus": facts["corpus"], **recipe}
    return {k: str(tuple(v)) if isinstance(v, (list, tuple)) else v for k, v in flat.items()}


@contextlib.contextmanager
def lock(out_dir: Path):
    """Reserve a run's folder for this process; an error now if it cannot be written to."""
    make_writable(out_dir, "Use another folder.")
    try:
        acquired = FileLock(out_dir / ".lock", timeout=0).acquire()
    except Timeout:
        raise RuntimeError(
            f"Another process is training in {out_dir}. Wait, stop it, or use another folder."
        ) from None
    with acquired:
        yield


def append_history(out_dir: Path, row: dict):
    """Add a row to history.csv, with a header before the first.

    A run that an earlier version began keeps its columns.
    """
    with (out_dir / "history.csv").open("a+", encoding="utf-8") as file:
        file.seek(0)
        columns = file.readline().rstrip("\n").split(",")
        if columns == [""]:
            columns = list(row)
            file.write(",".join(columns) + "\n")
        file.write(",".join(str(row.get(name, "")) for name in columns) + "\n")


def looks(out_dir: Path, step: int) -> list[tuple[float, str]]:
    """`(nats, state)` of the monitor's looks up to a step, from history.csv."""
    try:
        history = pd.read_csv(out_dir / "history.csv")
        rows = history[history["step"] <= step].dropna(subset=["state"])
    except (OSError, ValueError, KeyError):  # none yet, lost, or from before the monitor
        return []
    return list(zip(rows["nats"], rows["state"], strict=True))


def cut_history(out_dir: Path, step: int, log_every: int):
    """Cut rows after a step, and a half-written last line, from history.csv; warn if none stay."""
    file = out_dir / "history.csv"
    text = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    header, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
    complete = (line for line in lines if line.count(",") == header.count(","))
    steps = ((line.partition(",")[0], line) for line in complete)
    rows = [line for count, line in steps if count.isdigit() and int(count) <= step]
    if not rows and step >= log_every:
        warnings.warn(f"{file} is missing or empty: it starts again at step {step}.", stacklevel=2)
    if text:
        write_text(file, "".join(f"{line}\n" for line in [header, *rows]) if rows else "")


def snapshot_steps(recipe: Recipe, total: int) -> set[int]:
    """Steps after which an encoder is kept: evenly spaced, the last one at the end."""
    return {round(total * k / recipe.snapshots) for k in range(1, recipe.snapshots + 1)} - {0}


def save_snapshot(out_dir: Path, model: PredictReconstruct, metrics: dict):
    """`snapshots/step-.../`: the encoder, for `AutoModel.from_pretrained`, and its losses."""

    def write(part: Path):
        with quiet_transformers():
            model.encoder.save_pretrained(part)
        (part / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")

    folder = out_dir / "snapshots" / f"step-{metrics['step']:08d}"
    remove_folder(folder)
    build_folder(folder, write)


def save_finished(out_dir: Path, model: PredictReconstruct, corpus: Corpus, metrics: dict):
    """The model, its tokenizer, and last metrics.json, which makes the run a finished one."""
    save_tokenizer(corpus.tokenizer, out_dir, model.config.max_position_embeddings)
    with quiet_transformers():
        model.save_pretrained(out_dir)
    write_text(out_dir / "metrics.json", json.dumps(metrics, indent=1))


def divergence(out_dir: Path, recipe: Recipe, step: int, fault: str) -> FloatingPointError:
    """The error to raise when a loss or a weight is NaN or infinite."""
    good = [f for f in checkpoints.folders(out_dir) if not checkpoints.damage(f)]
    last = f"The last good checkpoint is {good[-1]}" if good else "There is no checkpoint yet"
    return FloatingPointError(
        f"{fault}, seen at step {step}. {last}. Try a lower lr (now {recipe.lr}), more "
        f"warmup_steps (now {recipe.warmup_steps}) or precision='fp32', in another folder."
    )


def collapse(out_dir: Path, recipe: Recipe, step: int, state: str) -> RuntimeError:
    """The error to raise where the monitor sees an alarm and the recipe says to stop."""
    good = [f for f in checkpoints.folders(out_dir) if not checkpoints.damage(f)]
    last = f"The last good checkpoint is {good[-1]}" if good else "There is no good checkpoint"
    return RuntimeError(
        f"Stopped at step {step}, as on_collapse={recipe.on_collapse!r} says: {state}, seen twice. "
        f"{last}. Try a lower lr (now {recipe.lr}), another target or latent_loss, or "
        "on_collapse='mlm', in another folder; on_collapse='continue' only reports."
    )


@contextlib.contextmanager
def quiet_transformers():
    """No progress bars for files that take milliseconds."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _read_json(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))
