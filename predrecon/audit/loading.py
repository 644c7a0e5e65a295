"""Encoder, tokenizer and own pooling of a run, a transformers or sentence-transformers model, or a
checkpoint of the paper's public code.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

from predrecon.audit.released import HEADS, load_released
from predrecon.audit.sentence_modules import read_folder
from predrecon.data import hub
from predrecon.data.corpus import BERT, load_tokenizer
from predrecon.data.progress import one_line
from predrecon.data.readers import SourceError, show
from predrecon.training.run_folder import quiet_transformers

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
_FALLBACK = "the encoder of a run (python -m predrecon pretrain)"


def load_parts(
    place: str, *, tokenizer, trust_remote_code: bool, num_heads: int | None, data_dir: str | None
) -> dict:
    """The fields of an `encoders.Model` except its name; see `encoders.load_encoder`."""
    path = Path(place).expanduser()
    if path.is_file():
        encoder = load_released(path, num_heads=HEADS if num_heads is None else num_heads).encoder
        texts = load_tokenizer(tokenizer or BERT, data_dir=data_dir)
        _check_tokenizer(place, encoder, texts, "tokenizer=... (on the command line --tokenizer)")
        return {"encoder": encoder, "tokenizer": texts}
    if not path.is_dir() and (place.startswith(("/", ".", "~")) or place.count("/") > 1):
        raise SourceError(f"{place}: no such file or folder.")
    if num_heads is not None:
        raise ValueError(
            f"num_heads={num_heads}: {place} states its number of heads; leave this out. Only "
            "a checkpoint of the paper's public code (a file) needs it."
        )
    parts, source = {}, place
    if path.is_dir():
        source = path
        if sentence := read_folder(path):
            source, parts["own"] = sentence.transformer, sentence.pooling
            parts["limit"] = sentence.max_length
        if not any(file for pattern in _WEIGHTS for file in source.glob(pattern)):
            raise SourceError(
                f"{show(source)}: no weights in this folder (expected {' or '.join(_WEIGHTS)}). "
                "Name the folder that save_pretrained wrote, or a finished run's."
            )
        if (source / "recipe.json").is_file():
            parts["seed"] = json.loads((source / "recipe.json").read_text("utf-8"))["seed"]
    with _explained(place, source, trust_remote_code):
        encoder, texts = _pretrained(place, source, tokenizer or source, trust_remote_code)
    _check_tokenizer(place, encoder, texts, "its own tokenizer with tokenizer=...")
    if 0 < texts.model_max_length < 10**6:  # a larger number stands for no limit
        parts["limit"] = min(parts.get("limit") or 10**6, texts.model_max_length)
    return parts | {"encoder": encoder, "tokenizer": texts}


def _pretrained(place: str, source, tokenizer, trust_remote_code: bool) -> tuple:
    from transformers import (
        MODEL_FOR_TEXT_ENCODING_MAPPING,
        AutoConfig,
        AutoModel,
        AutoModelForTextEncoding,
        AutoTokenizer,
    )

    options = {"trust_remote_code": trust_remote_code}
    config = AutoConfig.from_pretrained(source, **options)
    # one half of an encoder-decoder, saved alone (sentence-t5): AutoModel opens both halves
    half = type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING and any(
        name.endswith("EncoderModel") for name in config.architectures or ()
    )
    auto = AutoModelForTextEncoding if half else AutoModel
    if config.is_encoder_decoder and not half:
        raise ValueError(
            f"{place}: {config.model_type} is an encoder-decoder, which has no single sequence of "
            "hidden states. Name an encoder or a causal model."
        )
    options |= {"dtype": "auto", "output_loading_info": True}
    with quiet_transformers(), quiet_report():
        encoder, report = auto.from_pretrained(source, config=config, **options)
    missing = {name.partition(".")[0] for name in report["missing_keys"]}
    if missing == {"pooler"}:  # trained without one: it would be random, and no pooling uses it
        encoder.pooler = None
    elif missing:
        raise SourceError(
            f"{place}: no weights for {', '.join(sorted(report['missing_keys'])[:3])}, "
            f"{len(report['missing_keys'])} in all: they would be random. Save the model again."
        )
    options = {"trust_remote_code": trust_remote_code}
    return encoder.eval(), AutoTokenizer.from_pretrained(tokenizer, **options)


@contextlib.contextmanager
def _explained(place: str, source, trust_remote_code: bool) -> Iterator[None]:
    """Errors of transformers and the hub as one of ours, which names the way out."""
    ours = None
    try:
        if isinstance(source, Path):
            yield
        else:
            with hub.hub_or_cache(f"the hub's encoder {place}", tried=[f"the folder {place}"],
                                  fallback=_FALLBACK):  # fmt: skip
                try:
                    yield
                except ValueError as error:
                    ours = error
                    raise
    except Exception as error:  # transformers', safetensors' and the hub's: they share no base
        error = ours or error
        if "trust_remote_code" in str(error):
            raise SourceError(
                f"{place}: comes with its own code, which is not run unless you ask for it: "
                "trust_remote_code=True (on the command line --trust-remote-code)."
            ) from error
        if type(error) in (ValueError, SourceError) and str(error).startswith((place, "Not found")):
            raise error from error.__cause__
        raise SourceError(f"{place}: transformers cannot open it ({one_line(error)}).") from error


@contextlib.contextmanager
def quiet_report() -> Iterator[None]:
    """No table of unused weights: the MLM head is not needed here."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)


def _check_tokenizer(place: str, encoder, tokenizer, way_out: str):
    rows = getattr(encoder.get_input_embeddings(), "num_embeddings", 0)
    if not rows:
        raise ValueError(
            f"{place}: {type(encoder).__name__} does not read tokens. Name an encoder of text."
        )
    ids = tokenizer.get_vocab().values()
    if len(ids) <= len(tokenizer.all_special_ids):
        raise SourceError(f"{place}: no tokenizer in this folder. Pass {way_out}.")
    if (highest := max(ids)) >= rows:
        raise ValueError(
            f"{place}: the tokenizer has ids up to {highest:,}, the encoder embeds {rows:,} "
            f"tokens, so they do not fit. Pass {way_out}."
        )
