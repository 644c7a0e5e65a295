"""The pooling of a sentence-transformers folder, read from its modules (Reimers & Gurevych 2019).

modules.json                   the modules in order: a transformer, a pooling, perhaps a norm
sentence_bert_config.json      in the transformer's folder: the longest input
1_Pooling/config.json          how token vectors become one vector
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F

from predrecon.data.readers import SourceError, show
from predrecon.pooling import pool

MODES = {  # in older files: the switch of a mode, in the order in which modes are concatenated
    "cls": "pooling_mode_cls_token",
    "max": "pooling_mode_max_tokens",
    "mean": "pooling_mode_mean_tokens",
    "mean_sqrt_len_tokens": "pooling_mode_mean_sqrt_len_tokens",
    "weightedmean": "pooling_mode_weightedmean_tokens",
    "lasttoken": "pooling_mode_lasttoken",
}
_KINDS = ["Transformer", "Pooling", "Normalize"]


@dataclass(frozen=True)
class OwnPooling:
    """Token vectors to sentence vectors as a sentence-transformers folder does it.

    Args:
        modes: of `MODES`, concatenated: first token, maximum, mean, sum over the square root of the
            number of tokens, mean weighted by position (1, 2, ...), last token.
        normalize: whether vectors are scaled to length 1.
    """

    modes: tuple[str, ...]
    normalize: bool = False

    def __str__(self) -> str:
        return ", ".join(self.modes) + (", length 1" if self.normalize else "")

    def __call__(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """`hidden [B, L, D]`, `mask [B, L]`, padded on the right, to `[B, D * modes]`."""
        vectors = torch.cat([_pooled(hidden, mask, mode) for mode in self.modes], dim=1)
        return F.normalize(vectors, dim=1) if self.normalize else vectors


def _pooled(hidden: torch.Tensor, mask: torch.Tensor, mode: str) -> torch.Tensor:
    if mode in ("mean", "max"):
        return pool(hidden, mask, mode)
    count = mask.sum(dim=1, keepdim=True)  # (B, 1)
    if mode == "mean_sqrt_len_tokens":
        return pool(hidden, mask, "mean") * count.sqrt()
    if mode == "weightedmean":
        weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device)
        weights = weights / weights.sum(dim=1, keepdim=True)
        return torch.einsum("bl,bld->bd", weights.to(hidden), hidden)
    place = torch.zeros_like(count) if mode == "cls" else count - 1
    return hidden.gather(1, place[..., None].expand(-1, -1, hidden.shape[-1])).squeeze(1)


@dataclass(frozen=True)
class SentenceFolder:
    """What a sentence-transformers folder says: where its transformer is, and how it pools."""

    transformer: Path
    pooling: OwnPooling
    max_length: int | None  # tokens of a text, if the folder sets a limit


def read_folder(folder: Path) -> SentenceFolder | None:
    """The modules of a folder; None if it is not of sentence-transformers.

    Raises:
        SourceError: a module, a mode or a setting that is not supported; the message names it.
    """
    if not (folder / "modules.json").is_file():
        return None
    transformer, modes, normalize, kinds = folder, (), False, []
    for module in _json(folder / "modules.json"):
        kind, place = module["type"].rpartition(".")[2], folder / module["path"]
        kinds.append(kind)
        if kind == "Transformer":
            transformer = place
        elif kind == "Pooling":
            modes = _modes(place / "config.json")
        elif kind == "Normalize":
            normalize = True
        else:
            raise SourceError(
                f"{show(folder)}: its module {kind} is not supported (only {', '.join(_KINDS)}"
                f"). To measure its transformer alone, without its own "
                f"pooling, name {_alone(transformer)}."
            )
    if kinds not in (_KINDS[:2], _KINDS):
        raise SourceError(
            f"{show(folder)}: modules {', '.join(kinds)}: expected {', '.join(_KINDS)}; the last "
            "may be missing."
        )
    settings = _json(folder / "config_sentence_transformers.json")
    if prompt := settings.get("default_prompt_name"):
        raise SourceError(
            f"{show(folder)}: its default prompt {prompt!r} is not supported here. To "
            f"measure its transformer alone, name {_alone(transformer)}."
        )
    settings = _json(transformer / "sentence_bert_config.json")
    if settings.get("do_lower_case"):
        raise SourceError(
            f"{show(folder)}: do_lower_case is not supported. Set it in the tokenizer instead."
        )
    return SentenceFolder(transformer, OwnPooling(modes, normalize), settings.get("max_seq_length"))


def _alone(transformer: Path) -> str:
    """A folder from which the transformer opens alone."""
    if (transformer / "modules.json").is_file():
        return f"a copy of {show(transformer)} without modules.json"
    return show(transformer)


def _modes(file: Path) -> tuple[str, ...]:
    settings = _json(file)
    named = settings.get("pooling_mode")
    switched = tuple(mode for mode, switch in MODES.items() if settings.get(switch))
    modes = (named,) if isinstance(named, str) else tuple(named or switched or ("mean",))
    if unknown := [mode for mode in modes if mode not in MODES]:
        raise SourceError(
            f"{show(file)}: pooling {', '.join(unknown)}: expected one of {', '.join(MODES)}."
        )
    return modes


def _json(file: Path):
    """Content of a JSON file; empty without one."""
    try:
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except ValueError as error:
        raise SourceError(f"{show(file)}: not JSON ({error}).") from None
