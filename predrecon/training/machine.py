"""The machine: what it is, the few choices that follow from this, and the signals it sends."""

import contextlib
import importlib.metadata
import os
import platform
import shutil
import signal
import subprocess
import sysconfig
import threading
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend, GradientAccumulationPlugin, parse_flag_from_env

_WIDE = 256  # below this width bf16 gains nothing on a CPU: the matrices are too small


def precision(requested: str, device: torch.device, hidden_size: int) -> str:
    """`"fp32"` or `"bf16"`: the requested one, or with `"auto"` what is fastest here.

    bf16 on a GPU that has it. On a CPU bf16 if the processor multiplies it in hardware (AVX-512
    BF16 or AMX) and the model is at least 256 wide; fp32 otherwise.
    """
    if requested != "auto":
        return requested
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        cpu = torch.cpu.get_capabilities()
        fast = hidden_size >= _WIDE and bool(cpu.get("avx512_bf16") or cpu.get("amx_bf16"))
    return "bf16" if fast else "fp32"


def compiles(requested: bool | None, device: torch.device) -> bool:
    """Whether to compile: as requested, else on a GPU only (a CPU gains nothing).

    Without a C compiler or Python's headers: RuntimeError if requested, else a printed line.
    """
    wanted = device.type == "cuda" if requested is None else requested
    if not wanted or not (missing := _missing_to_compile()):
        return wanted
    if requested:
        raise RuntimeError(f"compile=True: no {missing}. Install it, or train without (auto, no).")
    print(f"Not compiled, so slower: no {missing}. The losses are the same up to rounding.")
    return False


def _missing_to_compile() -> str:
    """What torch.compile needs and this machine lacks, if anything."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    compilers = [os.environ.get(name) for name in ("CC", "CXX")]
    if not any(map(shutil.which, filter(None, [*compilers, "gcc", "clang", "g++", "cl"]))):
        return "C compiler (gcc, clang, or what CC names)"
    return "" if header.is_file() else f"headers of Python ({header})"


def accelerator(**options) -> Accelerator:
    """Accelerate for processes and devices only, whatever a launcher's environment says.

    Precision, accumulation and compilation are the recipe's. Settings that cannot be overridden are
    refused (ValueError): plugins of a launcher, and those of PyTorch or Accelerate in this process.
    """
    for plugin in ("DEEPSPEED", "FSDP", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if parse_flag_from_env(f"ACCELERATE_USE_{plugin}"):
            raise ValueError(
                f"ACCELERATE_USE_{plugin} is set: launch with predrecon/training/launch/*.yaml "
                "instead, and to spread a model add --shard (shard=True)."
            )
    if torch.get_default_dtype() != torch.float32:
        raise ValueError(
            f"PyTorch's default type is {torch.get_default_dtype()}, and weights are float32: "
            "call torch.set_default_dtype(torch.float32) first."
        )
    made = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision="no",
        dynamo_backend="no",
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        **options,
    )
    if made.state.dynamo_plugin.backend != DynamoBackend.NO:
        raise ValueError(
            "Another Accelerator of this process compiles (dynamo_backend). Start a new process."
        )
    return made


def environment(device: torch.device, processes: int = 1) -> dict:
    """Versions, device and commit, for a run's `environment.json`."""
    names = ("predrecon", "torch", "transformers", "accelerate", "tokenizers", "numpy")
    facts = {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in names},
        "commit": _commit(),
        "device": device.type,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
    }
    if device.type == "cuda":
        return facts | {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return facts | {"cpu": torch.backends.cpu.get_cpu_capability()}


def _version(package: str) -> str:
    """A checkout can be on the path without being installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit() -> str | None:
    """The checkout's commit, with "+" if files differ from it; None outside of a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    options = {"cwd": root, "stderr": subprocess.DEVNULL, "text": True, "timeout": 10}
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.check_output(command, **options).strip()
    return None


class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and has written a checkpoint; the message says how to continue."""


class StopRequest:
    """A context in which SIGTERM and Ctrl-C set `.name` and let the step in progress finish.

    A second signal ends the process at once, as usual. With `patient` it does not: launchers and
    schedulers send the same signal to several processes more than once. Outside of the main
    thread, where Python delivers no signals, nothing changes.
    """

    name: str = ""

    def __init__(self, *, patient: bool = False):
        self.patient = patient
        self.previous: dict = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self.previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_):
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def _note(self, number, _frame):
        self.name = signal.Signals(number).name
        if not self.patient:
            self.__exit__()
