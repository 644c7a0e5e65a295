"""What this machine is, and the few choices that follow from it."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

_WIDE = 256  # below this width bf16 gains nothing on a CPU: the matrices are too small


def precision(asked: str, device: torch.device, hidden_size: int) -> str:
    """`"fp32"` or `"bf16"`: what was asked for, or with `"auto"` what is fastest here.

    bf16 on a GPU that has it. On a CPU bf16 if the processor multiplies it in hardware (AVX-512
    BF16 or AMX) and the model is at least 256 wide; fp32 otherwise.
    """
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if hidden_size >= _WIDE and _bf16_in_hardware() else "fp32"


def compiles(asked: bool | None, device: torch.device) -> bool:
    """Whether to compile: what was asked for, else on a GPU only (a CPU gains nothing)."""
    return device.type == "cuda" if asked is None else asked


def environment(device: torch.device, processes: int = 1) -> dict:
    """Versions, device and commit, for a run's `environment.json`."""
    names = ("predrecon", "torch", "transformers", "accelerate", "tokenizers", "numpy")
    described = {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
        "commit": _commit(),
        "device": device.type,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    if device.type == "cuda":
        described |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    else:
        described["cpu"] = torch.backends.cpu.get_cpu_capability()
    return described


def _bf16_in_hardware() -> bool:
    try:
        file = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # macOS: its Accelerate kernels gain nothing from bf16
        return False
    return any(flag in file for flag in ("avx512_bf16", "amx_bf16"))


def _commit() -> str | None:
    """The checkout's commit, with "+" if files differ from it; None outside of a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
