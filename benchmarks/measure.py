"""Small tools for measuring: seconds, matrix rate, memory."""

import resource
import statistics
import sys
import time
from collections.abc import Callable

import torch


def seconds(work: Callable, device: torch.device | None = None) -> float:
    """Wall time of a call, the device's work included."""
    _wait(device)
    begun = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - begun


def matrix_rate(dtype: torch.dtype, device: torch.device, size: int | None = None) -> float:
    """Operations per second of a square matrix product, from the median time."""
    size = size or (8192 if device.type == "cuda" else 2048)
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in "ab")
    for _ in range(2):
        a @ b
    times = [seconds(lambda: a @ b, device) for _ in range(7)]
    return 2 * size**3 / statistics.median(times)


def peak_memory(device: torch.device) -> float:
    """GB: of this process on a CPU, of the device's allocator on a GPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def result_name(tiny: bool, device: torch.device) -> str:
    """The stem of the results' file names."""
    return "tiny" if tiny else "gpu" if device.type == "cuda" else "cpu"


def _wait(device: torch.device | None):
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
