"""Weights and optimiser state spread over the processes (PyTorch's FSDP), and gathered again.

For models that do not fit on one device; the paper's fits sixty times, and DDP is faster for it.
"""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from predrecon.model import Block


def shard(model: nn.Module, device: torch.device):
    """Leave each process its part of every parameter; a block is gathered while it computes."""
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    for module in [*(m for m in model.modules() if isinstance(m, Block)), model]:
        fully_shard(module, mesh=mesh)


def gathered(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors, whole, those that were spread on the CPU. Every process has to call it."""
    return {k: t.full_tensor().cpu() if isinstance(t, DTensor) else t for k, t in tensors.items()}


def spread(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """A whole tensor, spread over the processes if `like` is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements)
