"""What has been measured once is not measured again: results by (weights, task, protocol)."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from predrecon.data import paths
from predrecon.data.documents import digest
from predrecon.data.files import build_folder

_FORMAT = "2"  # changes when a metric or a probe changes what it computes

Rows = list[dict]
Arrays = dict[str, np.ndarray]


def cached(
    kind: str, parts: tuple, compute: Callable[[], tuple[Rows, Arrays]]
) -> tuple[Rows, Arrays]:
    """`compute()`, or what it gave for the same `kind` and `parts` before.

    Args:
        kind: first part of the folder's name.
        parts: whatever the result depends on, as values that print the same when they are the same.
        compute: returns rows of plain values, and arrays.
    """
    folder = paths.cache_dir() / "results" / f"{kind}-{digest(_FORMAT, kind, *map(repr, parts))}"
    if not (folder / "rows.json").is_file():
        rows, arrays = compute()
        build_folder(folder, lambda part: _write(part, rows, arrays))
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return rows, {name: file[name] for name in file.files}


def encoder_digest(encoder) -> str:
    """Names an encoder by its configuration and its weights."""
    found = hashlib.sha256(repr(sorted(encoder.config.to_diff_dict().items())).encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    return found.hexdigest()


def split_digest(split) -> str:
    """Names the texts and labels of a `tasks.Split`."""
    told = [split.first, split.second, split.labels.tolist()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def tokenizer_digest(tokenizer) -> str:
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def _write(part: Path, rows: Rows, arrays: Arrays):
    np.savez(part / "arrays.npz", **arrays)
    (part / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
