"""Where to compute and how precisely, from what the user asked for and the machine has."""

from __future__ import annotations

import platform
from collections.abc import Callable, Collection
from typing import TypeVar

import torch

from amtcli.errors import UsageError
from amtcli.networks import int8_convolution

_Input = TypeVar("_Input")

_DEVICES = ("cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bf16", "int8")

AUTO_BATCH_SIZE = {"cuda": 16, "mps": 4, "cpu": 1}
"""Windows per batch. A CPU gains nothing from more: its tiles are cut from one window."""


def resolve_device(name: str) -> torch.device:
    """Turn "auto" or a device's name into a device: CUDA, then MPS, then the CPU.

    Raises UsageError for a device that this machine does not have.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if name.partition(":")[0] not in _DEVICES:
        raise UsageError(f"--device {name} is unknown; choose auto, cpu, cuda, cuda:1 or mps")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(f"--device {name} cannot be used: {reason}; try --device auto") from error
    return device


def resolve_precision(name: str, device: torch.device, allowed: Collection[str]) -> str:
    """Turn "auto" into the fastest that is allowed and that the device is fast at, else float32.

    Raises UsageError for an unknown name, and for int8 where the device cannot do it.
    """
    if name not in PRECISIONS:
        raise UsageError(f"--precision {name} is unknown; choose {', '.join(PRECISIONS)}")
    if name == "int8" and not is_fast_at_int8(device):
        raise UsageError(
            f"--precision int8: {device} has no fast int8 with this PyTorch; take float32"
        )
    if name != "auto":
        return name
    if "int8" in allowed and is_fast_at_int8(device):
        return "int8"
    return "bf16" if "bf16" in allowed and is_fast_at_bf16(device) else "float32"


def is_fast_at_bf16(device: torch.device) -> bool:
    """Tell whether the device multiplies bf16 matrices faster than those of float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    found = _capabilities()
    # Intel's are fast by AMX alone: without it, as in some virtual machines, a Xeon that has
    # avx512_bf16 took 1.7 times as long as with float32.
    is_intel = str(found.get("cpu_name", "")).startswith("Intel")
    return bool(found.get("amx_bf16") or (found.get("avx512_bf16") and not is_intel))


def is_fast_at_int8(device: torch.device) -> bool:
    """Tell whether the device multiplies bytes in hardware, and this PyTorch lets it.

    Without VNNI there are older instructions, whose sums may overflow.
    """
    names = ("avx512_vnni", "avx_vnni", "amx_int8")
    has_vnni = device.type == "cpu" and any(_capabilities().get(name) for name in names)
    return has_vnni and int8_convolution.is_available()


def _capabilities() -> dict[str, object]:
    """Ask PyTorch about the processor; older versions say nothing."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def describe(device: torch.device) -> str:
    """Name a device for people, such as "cuda:0 (NVIDIA H200)" or "cpu (2 threads)"."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    if device.type == "cpu":
        return f"cpu ({torch.get_num_threads()} threads)"
    return f"{device} ({platform.machine()})"


def is_out_of_memory(error: RuntimeError) -> bool:
    """Tell a device's lack of memory from any other failure, which must not be hidden."""
    text = str(error)
    return (
        isinstance(error, torch.cuda.OutOfMemoryError)
        or "out of memory" in text  # MPS
        or "not enough memory" in text  # the CPU allocator, and that of Linux:
        or "can't allocate memory" in text
    )


def run_halving(
    compute: Callable[[list[_Input]], list[object]], windows: list[_Input]
) -> tuple[list[object], int]:
    """Compute windows at once or, where memory runs out, in halves.

    Returns one result per window and the greatest number that went through at once. Raises
    what ``compute`` raises when a single window does not fit.
    """
    try:
        return compute(windows), len(windows)
    except RuntimeError as error:
        if len(windows) == 1 or not is_out_of_memory(error):
            raise
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = (len(windows) + 1) // 2
    first, n_first = run_halving(compute, windows[:half])
    second, n_second = run_halving(compute, windows[half:])
    return first + second, max(n_first, n_second)
