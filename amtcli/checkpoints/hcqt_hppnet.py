"""Checkpoints of AMT_Piano's HPPNet, as its training program saves them: a state_dict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import lstm, pair, renamed
from amtcli.decoders.frames import FramesConfig
from amtcli.front_ends.hcqt import HcqtConfig
from amtcli.networks.hcqt_hppnet import HcqtHppnetConfig
from amtcli.networks.hppnet import HEADS
from amtcli.windows import FastWindow, WindowConfig

FRONT_END = HcqtConfig(
    sample_rate_hz=16000,
    hop_samples=256,
    n_bins=88,
    bins_per_octave=12,
    f_min_hz=27.5,
    harmonics=(0.5, 1.0, 2.0),
    dynamic_range_db=80.0,
)
# 10.24 s, as in training, of which 1.28 s at either end are left to the neighbours.
WINDOW = WindowConfig(163840, 122880, 20480, FastWindow(143360, 10240))
DECODER = FramesConfig(
    sample_rate_hz=16000,
    hop_samples=256,
    onset_threshold=0.5,
    onset_peaks=False,
    confirmation_threshold=0.3,
    frame_threshold=0.5,
    offset_threshold=0.3,
    held_threshold=0.85,
    shortest_frames=3,
    velocity_scale=127,
)

_CONVOLUTIONS = {
    **{f"network.stem.{i}": f"conv_block.{3 * i}" for i in range(3)},
    **{f"network.harmonics.{i}": f"hd_conv.convs.{i}" for i in range(4)},
    "network.widen": "adapter",
    **{f"network.blocks.{i}": f"deep_blocks.{i}.conv" for i in range(4)},
}


def _our_names() -> dict[str, str]:
    names: dict[str, str] = {}
    for ours, theirs in _CONVOLUTIONS.items():
        names |= pair(ours, theirs)
    for head in HEADS:
        ours, theirs = f"network.heads.{head}", f"head_{head}"
        names |= lstm(f"{ours}.lstm", f"{theirs}.lstm", ("_l0", "_l0_reverse"))
        names |= pair(f"{ours}.output", f"{theirs}.proj")
    return names


_NAMES = _our_names()


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


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved, "model_state_dict", "state_dict")


def _expected(_: Collection[str]) -> Expected:
    return Expected(frozenset(_NAMES.values()))


def _convert(found: Mapping[str, Tensor], _: Path) -> dict[str, Tensor]:
    return {name: _time_first(tensor) for name, tensor in renamed(found, _NAMES).items()}


def _describe(tensors: Mapping[str, Tensor], _: Any, __: Mapping[str, int]) -> Settings:
    return Settings(
        network=("hcqt_hppnet", network_config(tensors)),
        front_end=("hcqt", FRONT_END),
        window=WINDOW,
        decoder=("frames", DECODER),
    )


ORIGIN = Origin(
    title="AMT_Piano's HPPNet on a harmonic constant-Q spectrogram",
    home="https://github.com/JavierVillatoro/AMT_Piano",
    trained="a part of MAESTRO v3.0.0, note ends not extended by the pedal",
    hears=(
        "Its normalisation averages over the whole window, its LSTMs run over it in both "
        "directions, and the front-end scales each channel by the window's greatest value."
    ),
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
    departure=(
        "But a note's velocity is the mean over the frames of its onset and at least 1; their "
        "program takes the first of these frames and at least 25."
    ),
)
