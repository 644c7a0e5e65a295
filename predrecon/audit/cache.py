"""Measurements are cached by inputs, protocol and code.

A result is computed anew when any of this changes:

- the encoder's weights, configuration or code, the tokenizer, the texts, the labels;
- the protocol: poolings, samples, draws, seeds, epochs, and whatever else the caller's key holds;
- the code that computes it: the function and everything that it calls in this package, with all
  defaults and constants, but without comments, docstrings and layout;
- the version of a library that computes: `LIBRARIES`.

So there is no version number to increase by hand. Code is read from its files when a process first
measures: restart the process after an edit. Device and number of threads, which change last digits,
do not count.
"""

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from predrecon.data import paths
from predrecon.data.documents import digest
from predrecon.data.files import build_folder

_PACKAGE = "predrecon."
LIBRARIES = ("numpy", "scipy", "scikit-learn", "tokenizers", "torch", "transformers", "umap-learn")

Rows = list[dict]
Arrays = dict[str, np.ndarray]


def cached(
    kind: str, key: tuple, compute: Callable[[], tuple[Rows, Arrays]]
) -> tuple[Rows, Arrays]:
    """`compute()`, or its earlier result for the same `kind`, `key` and code.

    `key` holds whatever the result depends on besides code: values that print the same when they
    are the same. Code is followed from the top-level function that defines `compute`.
    """
    (result,) = cached_all(kind, [key], functools.wraps(compute)(lambda _: [compute()]))
    return result


def cached_all(
    kind: str,
    keys: list[tuple],
    compute: Callable[[list[int]], Iterable[tuple[Rows, Arrays]]],
) -> list[tuple[Rows, Arrays]]:
    """As `cached`, for each of `keys`; missing results are computed together.

    `compute(missing)` gives the results of `keys[i] for i in missing`, in this order; each is saved
    as soon as it is computed. Equal keys are computed once.
    """
    code = code_digest(f"{compute.__module__}.{compute.__qualname__.split('.')[0]}")
    results = paths.cache_dir() / "results"
    folders = [
        results / f"{kind}-{digest(kind, code, *_versions(), *map(repr, key))}" for key in keys
    ]
    numbers = {folder: i for i, folder in enumerate(folders)}
    missing = {f: i for f, i in numbers.items() if not (f / "rows.json").is_file()}
    if missing:
        paths.cache_dir(write=True)  # fails now, not after an hour of measuring
    computed = compute(list(missing.values())) if missing else []
    for folder, (rows, arrays) in zip(missing, computed, strict=True):

        def write(part: Path, rows=rows, arrays=arrays):
            np.savez(part / "arrays.npz", **arrays)
            (part / "rows.json").write_text(json.dumps(rows), encoding="utf-8")

        build_folder(folder, write)
    return [_read(folder) for folder in folders]


def _read(folder: Path) -> tuple[Rows, Arrays]:
    rows = json.loads((folder / "rows.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return rows, {name: file[name] for name in file.files}


def encoder_digest(encoder) -> str:
    """Identifies an encoder by its code, its configuration and its weights."""
    config = sorted(encoder.config.to_diff_dict().items())
    total = hashlib.sha256(repr(config).encode())
    total.update(code_digest(f"{type(encoder).__module__}.{type(encoder).__name__}").encode())
    for name, tensor in sorted(encoder.state_dict().items()):
        total.update(name.encode())
        content = tensor.detach().cpu().contiguous().flatten()
        total.update(content.view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return total.hexdigest()


def split_digest(split) -> str:
    """Identifies the texts and labels of a `tasks.Split`."""
    content = [split.first, split.second, split.labels.tolist()]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def tokenizer_digest(tokenizer) -> str:
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


@functools.cache
def code_digest(start: str) -> str:
    """Identifies a function or class by its code and that of all it uses in this package.

    What it uses is read from the source: names and attributes of modules, imports inside functions,
    and annotations, so that the methods of an annotated argument count. This module and other
    packages are left out.

    Raises:
        ValueError: this package does not define `start` (a dotted path) at the top of a module.
    """
    code: dict[str, str] = {}
    waiting = [start]
    while waiting:
        path = waiting.pop()
        module, _, name = path.rpartition(".")
        if path in code or module == __name__ or not path.startswith(_PACKAGE):
            continue
        definitions, imports = _contents(module)
        if name in imports:
            waiting.append(imports[name])
        elif name in definitions:
            code[path] = ast.dump(definitions[name])
            imports = imports | _imports(definitions[name])
            for node in ast.walk(definitions[name]):
                if isinstance(node, ast.Name):
                    waiting.append(imports.get(node.id, f"{module}.{node.id}"))
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    waiting.append(f"{imports.get(node.value.id, '')}.{node.attr}")
    if not code and start.startswith(_PACKAGE):
        raise ValueError(f"{start} is not defined at the top of a module: no code to follow.")
    return digest(*(f"{path} {code[path]}" for path in sorted(code)))


@functools.cache
def _contents(module: str) -> tuple[dict[str, ast.AST], dict[str, str]]:
    """`{name: definition}` at a module's top, without docstrings, and `{name: path}` of imports."""
    try:
        tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    except ModuleNotFoundError:  # the path is an attribute of a class
        return {}, {}
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [
                part
                for part in node.body
                if not (isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant))
            ]
    definitions = {}
    for node in tree.body:
        targets = getattr(node, "targets", [getattr(node, "target", ast.Pass())])
        names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
        definitions |= dict.fromkeys(names | {getattr(node, "name", "")}, node)
    return definitions, _imports(tree)


def _imports(tree: ast.AST) -> dict[str, str]:
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@functools.cache
def _versions() -> tuple[str, ...]:
    return tuple(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
