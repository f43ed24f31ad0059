"""Checkpoints of Onsets and Frames as Jongwook Kim's program saves them: whole modules."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import conv_stack, lstm, pair, renamed
from amtcli.decoders.frames import FramesConfig
from amtcli.front_ends.log_mel import LogMelConfig
from amtcli.networks.onsets_and_frames import OnsetsAndFramesConfig
from amtcli.windows import FastWindow, WindowConfig

N_MELS = 229  # fixed in the program
FRONT_END = LogMelConfig(
    sample_rate_hz=16000,
    window_samples=2048,
    hop_samples=512,
    n_mels=N_MELS,
    f_min_hz=30.0,
    f_max_hz=8000.0,
    mel_scale="htk",
    equal_area=True,
    spectrum="magnitude",
    logarithm="natural",
    floor=1e-5,
    dynamic_range_db=math.inf,
)
# 20.48 s, as in training, of which 2.56 s at either end are left to the neighbours.
WINDOW = WindowConfig(327680, 245760, 40960, FastWindow(286720, 20480))
DECODER = FramesConfig(
    sample_rate_hz=16000,
    hop_samples=512,
    onset_threshold=0.5,
    onset_peaks=False,
    confirmation_threshold=0.0,
    frame_threshold=0.5,
    offset_threshold=1.0,  # with held_threshold 0: offsets end nothing
    held_threshold=0.0,
    shortest_frames=1,
    velocity_scale=128,
)

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


def network_config(tensors: Mapping[str, Tensor]) -> OnsetsAndFramesConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    return OnsetsAndFramesConfig(N_MELS, len(tensors["network.onset.stack.norms.0.weight"]))


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved, "model_state_dict", "state_dict")


def _expected(_: Collection[str]) -> Expected:
    return Expected(frozenset(_NAMES.values()))


def _convert(found: Mapping[str, Tensor], _: Path) -> dict[str, Tensor]:
    return renamed(found, _NAMES)


def _describe(tensors: Mapping[str, Tensor], _: Any, __: Mapping[str, int]) -> Settings:
    return Settings(
        network=("onsets_and_frames", network_config(tensors)),
        front_end=("log_mel", FRONT_END),
        window=WINDOW,
        decoder=("frames", DECODER),
    )


ORIGIN = Origin(
    title="Onsets and Frames (Jongwook Kim's program)",
    home="https://github.com/jongwook/onsets-and-frames",
    trained="MAESTRO, note ends extended by the sustain pedal",
    hears="Its LSTMs run over the whole window in both directions.",
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
)
