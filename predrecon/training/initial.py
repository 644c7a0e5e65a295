"""Weights that a run begins from: any ModernBERT's, instead of random ones.

`fitted` reads the source: its shape, its tokenizer and a digest of its weights become part of the
recipe, which names the run's folder. `initial/` in that folder is a copy of what the run began
with, itself a plain ModernBERT, with `provenance.json`. So the run can resume without the source,
and the encoder before the first step can be measured.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from transformers import AutoConfig, ModernBertForMaskedLM
from transformers.utils import logging

from predrecon import modernbert, recipes
from predrecon.data import hub, paths
from predrecon.data.corpus import Corpus
from predrecon.data.files import build_folder
from predrecon.data.progress import one_line
from predrecon.data.readers import SourceError
from predrecon.model import PredictReconstruct
from predrecon.recipes import Recipe, split_init

FOLDER, PROVENANCE = "initial", "provenance.json"
_SHAPE = {
    "architecture": "architecture", "hidden_size": "hidden_size", "num_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads", "mlp_ratio": "mlp_ratio",
}  # fmt: skip


def fitted(recipe: Recipe, named: Iterable[str] = ()) -> Recipe:
    """The recipe with the shape and tokenizer of the weights that `init` names, and their digest.

    A recipe without `init`, or one that is fitted already, is returned as it is. If the source is
    gone, the copy in a run that began from it is used.

    Args:
        recipe: `init` is a folder or a name on the hub.
        named: fields that the user chose. The weights may not contradict them, nor fields that
            differ from the preset's.

    Raises:
        SourceError: nothing of that name, no weights, or not a ModernBERT that is supported.
        ValueError: a chosen field contradicts the weights, or `length` is more than they read.
    """
    name, known = split_init(recipe.init)
    if name is None or known:
        return recipe
    if Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser().resolve())
    place = name
    try:
        shape, weights = _read(name)
    except SourceError:
        copies = (f.parent for f in paths.runs_dir().glob(f"*/{FOLDER}/{PROVENANCE}"))
        place = next((c for c in copies if _provenance(c)["name"] == name), None)
        if place is None:
            raise
        print(f"{name} cannot be read: using its copy, {place.parent.name}/{place.name}.")
        digest, shape = _provenance(place)["sha256"], modernbert.shape_of(_config(str(place)))
    else:
        digest = modernbert.digest(weights, shape)
    preset = recipes.get(recipe.preset)
    values = {field: shape[key] for field, key in _SHAPE.items()}
    wrong = [
        f"{field}={getattr(recipe, field)} (the weights: {value})"
        for field, value in values.items()
        if getattr(recipe, field) != value
        and (field in named or getattr(recipe, field) != getattr(preset, field))
    ]
    if wrong:
        raise ValueError(f"init={name!r} decides the shape; leave out {', '.join(wrong)}.")
    if recipe.length > shape["max_position_embeddings"]:
        raise ValueError(
            f"length={recipe.length}: {name} reads at most {shape['max_position_embeddings']} "
            "tokens. Use that or less."
        )
    if recipe.tokenizer == "auto":
        values["tokenizer"] = str(place)
    return dataclasses.replace(recipe, init=f"{name}@{digest[:16]}", **values)


def open_source(recipe: Recipe, corpus: Corpus, seed: int) -> PredictReconstruct:
    """The MLM-only model with the weights of a fitted recipe's `init`; a missing head is fresh.

    Raises:
        SourceError: as `fitted`.
        ValueError: other weights than when the recipe was fitted, or a vocabulary that does not fit
            the corpus's tokenizer.
    """
    name, known = split_init(recipe.init)
    shape, weights = _read(name)
    found = modernbert.digest(weights, shape)[:16]
    if found != known:
        raise ValueError(
            f"init={name!r} holds other weights ({found}) than this recipe began with ({known})."
        )
    _check_vocabulary(name, shape, corpus.tokenizer)
    return modernbert.from_modernbert(weights, shape, seed=seed)


def keep(out_dir: Path, model: PredictReconstruct, recipe: Recipe, corpus: Corpus):
    """Write `initial/`: the model of `open_source`, its tokenizer, and its source."""
    name, digest = split_init(recipe.init)

    def write(part: Path):
        with _quiet():
            modernbert.to_modernbert(model, corpus.tokenizer).save_pretrained(part)
        corpus.tokenizer.save_pretrained(part)
        facts = {"name": name, "sha256": digest}
        (part / PROVENANCE).write_text(json.dumps(facts, indent=1), encoding="utf-8")

    build_folder(out_dir / FOLDER, write)


def load(out_dir: Path) -> PredictReconstruct | None:
    """What the run in a folder began with, MLM-only; None if it began from random weights."""
    if not (out_dir / FOLDER).is_dir():
        return None
    shape, weights = _read(str(out_dir / FOLDER))
    return modernbert.from_modernbert(weights, shape)


def _read(name: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Shape, as `modernbert.shape_of`, and the weights that are there, in float32."""
    try:
        shape = modernbert.shape_of(config := _config(name))
    except ValueError as error:
        if isinstance(error, SourceError):
            raise
        hint = ""
        if config.model_type == "predrecon":
            hint = " Export the run first: python -m predrecon export RUN DIR."
        raise SourceError(f"init={name!r}: {error}{hint}") from None

    def open_weights(place):
        return ModernBertForMaskedLM.from_pretrained(
            place, config=config, dtype=torch.float32, output_loading_info=True
        )

    model, info = _open(open_weights, name, "weights")
    missing = set(info["missing_keys"])
    if absent := sorted(key for key in missing if key.startswith("model.")):
        raise SourceError(
            f"init={name!r}: no weights for {len(absent)} tensors of the encoder, for example "
            f"{absent[0]}."
        )
    return shape, {k: t for k, t in model.state_dict().items() if k not in missing}


def _config(name: str):
    return _open(AutoConfig.from_pretrained, name, "configuration")


def _open(from_pretrained, name: str, what: str):
    """What a folder or the hub has under this name."""
    folder = Path(name).expanduser()
    with _quiet():
        if not folder.is_dir():
            return hub.load(from_pretrained, name, what, tried=[f"the folder {folder.resolve()}"])
        try:
            return from_pretrained(folder)
        except Exception as error:  # transformers, safetensors and json share no base
            reason = one_line(error)
            raise SourceError(f"init={name!r}: no readable {what} ({reason}).") from error


def _check_vocabulary(name: str, shape: dict, tokenizer):
    rows, pad = shape["vocab_size"], shape["pad_token_id"]
    if len(tokenizer) > rows or pad != tokenizer.pad_token_id:
        raise ValueError(
            f"init={name!r}: {rows:,} tokens, padding is {pad}; the tokenizer has "
            f"{len(tokenizer):,}, padding is {tokenizer.pad_token_id}. They do not fit: use the "
            "tokenizer that these weights were trained with (tokenizer='auto')."
        )


def _provenance(folder: Path) -> dict:
    return json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars, and no reports of a missing head, which is expected."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
