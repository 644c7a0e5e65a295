"""Randomness as a function of (seed, purpose, step), never of global state.

Every draw starts from a generator made here. So batches and masks are the same after a resume, in
another process, and in a notebook cell that runs twice.
"""

import zlib

import numpy as np
import torch

from predrecon.recipes import read


def _state(seed: int, purpose: str, step: int) -> int:
    words = [read("seed", seed), zlib.crc32(purpose.encode()), step]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))


def torch_generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator that depends on the run's seed, the stream's name and the step alone.

    Two purposes (`"block masks"`, `"epoch"`) never share numbers; `step` may also count epochs.
    """
    return torch.Generator().manual_seed(_state(seed, purpose, step))


def numpy_generator(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """As `torch_generator`, for NumPy."""
    return np.random.default_rng(_state(seed, purpose, step))
