"""Checkpoints of the paper's public code (`*.pth.tar`), read into the published architecture.

Such a file is a dictionary of state dictionaries: `encoder`, `token_regressor`, and in the hybrid
`predictor`, `target_encoder` and `loss_weight`. It is opened without unpickling objects. The file
does not hold the number of heads; the public code's default is 8.
"""

import pickle
import re
import warnings
from pathlib import Path

import torch

from predrecon.data.progress import one_line
from predrecon.data.readers import SourceError, show
from predrecon.model import PredictReconstruct, PredictReconstructConfig

HEADS = 8  # of the public code's encoder and predictor
_NAMES = (  # theirs, ours
    (r"^module\.", ""),  # from a run on several devices
    (r"^token_embed\.token_embed\.", "tokens."),
    (r"^(pred_)?pos_embed$", "positions.table"),
    (r"^predictor_blocks\.", "blocks."),
    (r"\.attn\.", "."),
    (r"\.mlp\.fc1\.", ".up."),
    (r"\.mlp\.fc2\.", ".down."),
    (r"^predictor_norm\.", "norm."),
    (r"^predictor_embed\.", "enter."),
    (r"^predictor_proj\.", "leave."),
    (r"^proj\.", "w1."),
    (r"^regress\.", "w2."),
)


def load_released(
    path: str | Path, *, num_heads: int = HEADS, predictor_heads: int | None = None
) -> PredictReconstruct:
    """The model of a checkpoint, all of its parts, in evaluation mode.

    Args:
        path: a `*.pth.tar` file.
        num_heads: attention heads of the encoder; predictor_heads: of the predictor, by default the
            same number.

    Raises:
        SourceError: no such file, not a checkpoint, an object inside (never executed), or tensors
            that do not make up the published architecture.
        ValueError: heads that do not divide the width.
    """
    path = Path(path)
    parts = _read(path)
    encoder, regressor = (_renamed(path, parts, name) for name in ("encoder", "token_regressor"))
    hybrid = parts.get("target_encoder") is not None
    state = {f"encoder.{k}": v for k, v in encoder.items()}
    state |= {f"regressor.{k}": v for k, v in regressor.items()}
    try:
        length, dim = encoder["positions.table"].shape
        sizes = dict(
            vocab_size=len(encoder["tokens.weight"]), hidden_size=dim,
            num_hidden_layers=_layers(encoder), num_attention_heads=num_heads,
            mlp_ratio=len(encoder["blocks.0.up.weight"]) // dim, max_position_embeddings=length,
            arm="hybrid" if hybrid else "mlm", regressor_norm_eps=1e-5,
        )  # fmt: skip
        _check_heads(path, "num_heads", num_heads, dim)
        if hybrid:
            predictor = _renamed(path, parts, "predictor")
            predictor["mask_token"] = predictor["mask_token"].flatten()
            predictor["positions.table"] = predictor["positions.table"][:length]
            target = _renamed(path, parts, "target_encoder")
            state |= {f"predictor.{k}": v for k, v in predictor.items()}
            state |= {f"target.{k}": v for k, v in target.items()}
            state["balance.w"] = parts["loss_weight"].reshape(1)
            width, heads = len(predictor["mask_token"]), predictor_heads or num_heads
            _check_heads(path, "predictor_heads", heads, width)
            sizes |= dict(predictor_size=width, predictor_layers=_layers(predictor))
            sizes |= dict(predictor_heads=heads)
        model = PredictReconstruct(PredictReconstructConfig(**sizes))
        model.load_state_dict(state)
    except (AttributeError, KeyError, RuntimeError) as error:
        raise SourceError(
            f"{show(path)}: its tensors do not make up the published architecture "
            f"({one_line(error)})."
        ) from error
    return model.eval()


def _read(path: Path) -> dict:
    """The dictionary in a file: tensors, numbers and text, nothing else."""
    if not path.is_file():
        raise SourceError(f"{show(path)}: no such file.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a pickle protocol; errors follow below
            parts = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        kind = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"an object inside ({kind[1]})" if kind else one_line(error)
        raise SourceError(
            f"{show(path)}: {reason}. Not opened, since unpickling an object can run any code: "
            "save the checkpoint again with tensors, numbers and text alone."
        ) from None
    except Exception as error:  # bytes that are not a pickle can fail in any way
        raise SourceError(f"{show(path)}: not a checkpoint of torch ({one_line(error)}).") from None
    if not isinstance(parts, dict):
        raise SourceError(f"{show(path)}: holds a {type(parts).__name__}, expected a dictionary.")
    return parts


def _renamed(path: Path, parts: dict, part: str) -> dict[str, torch.Tensor]:
    """A state dictionary of the file under our names."""
    if not isinstance(parts.get(part), dict):
        here = ", ".join(map(str, parts))
        raise SourceError(
            f"{show(path)}: no {part!r}, so not a checkpoint of the paper's public code. "
            f"Here are: {here}."
        )
    renamed = {}
    for name, value in parts[part].items():
        for theirs, ours in _NAMES:
            name = re.sub(theirs, ours, name)
        renamed[name] = value.squeeze(0) if name == "positions.table" else value
    return renamed


def _layers(state: dict) -> int:
    return len({name.split(".")[1] for name in state if name.startswith("blocks.")})


def _check_heads(path: Path, option: str, heads: int, width: int):
    if heads < 1 or width % heads:
        raise ValueError(
            f"{show(path)}: {option}={heads} does not divide the width {width}. The file does not "
            f"hold the number of heads (default {HEADS}): pass {option}=... (on the command line "
            "--num-heads N)."
        )
