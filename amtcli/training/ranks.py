"""The processes that train one network together, as ``torchrun`` starts them.

Every process computes its share of each batch; the first alone logs, validates and saves. State
is gathered whole, so that it does not say how many processes wrote it.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amtcli.devices import resolve_device
from amtcli.errors import TrainingError, UsageError

_LONGEST_WAIT = datetime.timedelta(hours=6)  # the others wait while the first validates


@dataclass(frozen=True)
class Ranks:
    """Which of the processes that train together this one is."""

    rank: int
    n_ranks: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this process logs and saves."""
        return self.rank == 0

    def total(self, values: Tensor) -> Tensor:
        """Add up ``values`` over all processes."""
        if self.n_ranks > 1:
            torch.distributed.all_reduce(values)
        return values

    def from_first(self, value: Any) -> Any:
        """Return what the first process has, in all of them; others pass anything."""
        if self.n_ranks == 1:
            return value
        box = [value]
        torch.distributed.broadcast_object_list(box, src=0, device=self.device)
        return box[0]


@contextmanager
def join_ranks(device: str) -> Generator[Ranks, None, None]:
    """Take a place among the processes that ``torchrun`` started, or train alone without it.

    None leaves before all have come to the end, unless it fails. Raises UsageError for a device
    that this machine does not have.
    """
    n_ranks = int(os.environ.get("WORLD_SIZE", "1"))
    if n_ranks == 1:
        yield Ranks(0, 1, resolve_device(device))
        return
    if device in ("auto", "cuda") and torch.cuda.is_available():
        device = f"cuda:{os.environ['LOCAL_RANK']}"
    own = resolve_device(device)
    if own.type == "cuda":
        torch.cuda.set_device(own)
    backend = "nccl" if own.type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=_LONGEST_WAIT)
    try:
        yield Ranks(torch.distributed.get_rank(), n_ranks, own)
        # Gloo's threads let go of tensors after an exchange is over, for which they need Python:
        # where it has ended meanwhile, the process is aborted. While others write, they have time.
        torch.distributed.barrier()
    finally:
        torch.distributed.destroy_process_group()


def share_network(network: nn.Module, ranks: Ranks, *, shard: bool) -> nn.Module:
    """Return the module to call in place of ``network``, on its device; gradients are averaged.

    With ``shard`` each process keeps its part of weights and optimiser state (FSDP), else each
    has all of them (DDP). Batch statistics are those of the whole batch on CUDA only. Raises
    UsageError where there is nobody to share with, TrainingError where torch cannot shard.
    """
    if ranks.n_ranks == 1:
        if shard:
            raise UsageError("--shard needs several processes: start amt train by torchrun")
        return network
    if ranks.device.type == "cuda":
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if not shard:
        on_cuda = [ranks.device] if ranks.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(network, device_ids=on_cuda)
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise TrainingError("--shard needs torch 2.6 or later") from error
    mesh = init_device_mesh(ranks.device.type, (ranks.n_ranks,))
    fully_shard(network, mesh=mesh)
    return network


def without_exchange(network: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Let gradients of all but the last part of a batch stay where they are until it has come."""
    if isinstance(network, nn.parallel.DistributedDataParallel):
        return nullcontext() if last else network.no_sync()
    set_exchange: Any = getattr(network, "set_requires_gradient_sync", None)
    if set_exchange is not None:
        set_exchange(last)
    return nullcontext()


def whole(value: Any) -> Any:
    """Gather tensors, and what holds them, from all processes onto the CPU."""
    if isinstance(value, Tensor):
        gather: Any = getattr(value, "full_tensor", None)
        return (value if gather is None else gather()).detach().cpu()
    if isinstance(value, Mapping):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(whole(item) for item in value)
    return value


def divided_like(value: Tensor, model: Any) -> Tensor:
    """Lay a whole tensor out as ``model`` is: on its device, divided among processes or not."""
    value = value.to(model.device)
    if not hasattr(model, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, model.device_mesh, model.placements)
