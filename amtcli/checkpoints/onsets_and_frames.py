"""Checkpoints of Onsets and Frames as Jongwook Kim's program saves them: whole modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.checkpoints.renaming import conv_stack, lstm, pair, renamed
from amtcli.networks.onsets_and_frames import OnsetsAndFramesConfig

N_MELS = 229  # fixed in the program

_BOTH_WAYS = ("_l0", "_l0_reverse")
_NAMES = {
    **conv_stack("network.onset.stack", "onset_stack.0"),
    **lstm("network.onset.lstm", "onset_stack.1.rnn", _BOTH_WAYS),
    **pair("network.onset.output", "onset_stack.2"),
    **conv_stack("network.offset.stack", "offset_stack.0"),
    **lstm("network.offset.lstm", "offset_stack.1.rnn", _BOTH_WAYS),
    **pair("network.offset.output", "offset_stack.2"),
    **conv_stack("network.activation.stack", "frame_stack.0"),
    **pair("network.activation.output", "frame_stack.1"),
    **lstm("network.frame.lstm", "combined_stack.0.rnn", _BOTH_WAYS),
    **pair("network.frame.output", "combined_stack.1"),
    **conv_stack("network.velocity.stack", "velocity_stack.0"),
    **pair("network.velocity.output", "velocity_stack.1"),
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint into tensors with our names. Raises ModelError when it is none."""
    return renamed(module_tensors(load_inert(path)), _NAMES, (), path)


def network_config(tensors: Mapping[str, Tensor]) -> OnsetsAndFramesConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    return OnsetsAndFramesConfig(N_MELS, len(tensors["network.onset.stack.norms.0.weight"]))
