"""The paper's three linear heads, and what they read (`probes.linear_probe` trains them)."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn


class Head(nn.Module):
    """Features `[N, F]` to logits `[N, num_classes]`, or to scores `[N]` with `num_classes=0`."""

    def __init__(self, dim: int, num_classes: int, *, single: bool, dropout: float, seed: int):
        super().__init__()
        self.similarity = num_classes == 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self.similarity:
                self.scale, self.bias = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(()))
            elif single:
                linear = nn.Linear(dim, num_classes)
                self.layers = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(dropout), linear)
            else:
                self.layers = nn.Linear(dim, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x[:, 0] + self.bias if self.similarity else self.layers(x)


def features(*parts, similarity: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head reads, `[N, F]`, and the labels `[N]`."""
    *vectors, labels = (torch.as_tensor(np.asarray(part)) for part in parts)
    if any(len(v) != len(labels) for v in vectors) or len(labels) == 0:
        sizes = ", ".join(str(len(v)) for v in vectors)
        raise ValueError(f"Vectors of {sizes} samples, {len(labels)} labels: expected as many.")
    if not all(v.isfinite().all() for v in vectors):
        raise ValueError("The vectors hold NaN or infinity: nothing can be probed.")
    vectors = [v.float() for v in vectors]
    if similarity:
        return F.cosine_similarity(*vectors)[:, None], labels.float()
    if len(vectors) == 1:
        return vectors[0], labels.long()
    a, b = vectors
    return torch.cat([a, b, (a - b).abs(), a * b], dim=1), labels.long()


def check_labels(y: torch.Tensor, y_val: torch.Tensor, num_classes: int):
    """Refuses labels outside 0 .. num_classes-1, and training labels of one class."""
    if num_classes == 0:
        return
    seen = sorted(set(y.tolist()) | set(y_val.tolist()))
    if seen[0] < 0 or seen[-1] >= num_classes:
        raise ValueError(f"Labels {seen[:8]}: expected integers from 0 to {num_classes - 1}.")
    if len(y.unique()) < 2:
        raise ValueError(f"The training labels hold one class only ({seen[0]}): nothing to learn.")
