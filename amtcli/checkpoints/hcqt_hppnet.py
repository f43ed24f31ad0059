"""Checkpoints of AMT_Piano's HPPNet, as its training program saves them: a state_dict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.checkpoints.renaming import lstm, pair, renamed
from amtcli.networks.hcqt_hppnet import HcqtHppnetConfig
from amtcli.networks.hppnet import HEADS

_CONVOLUTIONS = {
    **{f"network.stem.{i}": f"conv_block.{3 * i}" for i in range(3)},
    **{f"network.harmonics.{i}": f"hd_conv.convs.{i}" for i in range(4)},
    "network.widen": "adapter",
    **{f"network.blocks.{i}": f"deep_blocks.{i}.conv" for i in range(4)},
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint into tensors with our names. Raises ModelError when it is none."""
    names: dict[str, str] = {}
    for ours, theirs in _CONVOLUTIONS.items():
        names |= pair(ours, theirs)
    for head in HEADS:
        ours, theirs = f"network.heads.{head}", f"head_{head}"
        names |= lstm(f"{ours}.lstm", f"{theirs}.lstm", ("_l0", "_l0_reverse"))
        names |= pair(f"{ours}.output", f"{theirs}.proj")
    tensors = renamed(module_tensors(load_inert(path)), names, (), path)
    return {name: _time_first(tensor) for name, tensor in tensors.items()}


def network_config(tensors: Mapping[str, Tensor]) -> HcqtHppnetConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    first = tensors["network.stem.0.weight"]
    return HcqtHppnetConfig(
        n_input_channels=first.shape[1],
        base_channels=first.shape[0],
        lstm_width=tensors["network.heads.onset.lstm.weight_hh_l0"].shape[1],
    )


def _time_first(tensor: Tensor) -> Tensor:
    """Swap the axes of a kernel: theirs are frequency and time, ours time and frequency."""
    return tensor.transpose(2, 3).contiguous() if tensor.dim() == 4 else tensor
