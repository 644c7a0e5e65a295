"""Geometry by layer: in which layers does the geometry arise?

Layer 0 is the output of the embeddings, layer k that of the k-th block; the last one is the output
of the encoder, after the final norm if it has one.
"""

import numpy as np
import pandas as pd

from predrecon.audit.cache import cached, encoder_digest, split_digest, tokenizer_digest
from predrecon.audit.encoders import Model, each_pair
from predrecon.audit.geometry import DRAWS, GEOMETRY_SAMPLES, SIX, metrics_of
from predrecon.audit.statistics import bootstrap_interval
from predrecon.data.tasks import Task
from predrecon.pooling import pool, token_vectors
from predrecon.recipes import read


def geometry_by_layer(
    models: list[Model],
    tasks: list[Task],
    *,
    poolings: tuple[str, ...] = ("mean",),
    max_samples: int = GEOMETRY_SAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """The six metrics (`geometry.SIX`) after every layer, the output of the embeddings included.

    Args:
        poolings: some of `Model.poolings`; a model is measured under those that it has.
        max_samples: maximum number of texts of a validation split.
        seed: shuffles the folds of the probes and draws the bootstrap samples.

    Returns:
        Columns `task, title, model, seed, layer, pooling, metric, value, low, high, n, dim`, with
        95 % intervals over samples.

    Raises:
        ValueError: no model or no task; errors of a metric or a probe, with the names of both.
    """
    rows, seed = [], read("seed", seed)
    for task, model in each_pair("geometry by layer", tasks, models):
        facts = {"task": task.name, "title": task.title, "model": model.name, "seed": model.seed}
        chosen = tuple(pooling for pooling in poolings if pooling in model.poolings)
        rows += [facts | row for row in _measured(model, task, chosen, max_samples, seed)]
    return pd.DataFrame(rows)


def _measured(
    model: Model, task: Task, poolings: tuple[str, ...], max_samples: int, seed: int
) -> list[dict]:
    """The rows of one encoder on one task."""
    split = task.validation.head(max_samples)

    def compute():
        rows = []
        try:
            measured = metrics_of(model, task, split, draws=DRAWS, seed=seed, probed=True)
            for (layer, pooling), z in layer_vectors(model, split, poolings).items():
                results = measured(z)
                for metric in SIX:
                    value, spread, n = results[metric]
                    row = {"layer": layer, "pooling": pooling, "metric": metric}
                    row |= bootstrap_interval(value, spread, n).bounds
                    rows.append(row | {"n": n, "dim": z.shape[1]})
        except ValueError as error:
            raise ValueError(f"{task.title}, {model.name}: {error}") from error
        return rows, {}

    digests = encoder_digest(model.encoder), tokenizer_digest(model.tokenizer), split_digest(split)
    protocol = task.kind, task.classes, poolings, model.own, model.max_length, seed
    rows, _ = cached("by_layer", (*digests, *protocol), compute)
    return rows


def layer_vectors(
    model: Model, split, poolings: tuple[str, ...]
) -> dict[tuple[int, str], np.ndarray]:
    """`{(layer, pooling): [N, D]}` from one pass of the encoder over a `tasks.Split`."""
    vectors: dict[tuple[int, str], np.ndarray] = {}
    batches = token_vectors(
        model.encoder,
        model.tokenizer,
        split.first,
        split.second,
        max_length=model.max_length,
        every_layer=True,
    )
    for rows, states, mask in batches:
        for layer, hidden in enumerate(states):
            for how in poolings:
                z = model.own(hidden, mask) if how == "own" else pool(hidden, mask, how)
                place = layer, how
                if place not in vectors:
                    vectors[place] = np.empty((len(split), z.shape[1]), np.float32)
                vectors[place][rows] = z.cpu().numpy()
    return vectors
