"""Checkpoints of HPPNet as its program saves them: whole modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import lstm, pair, renamed
from amtcli.decoders.frames import FramesConfig
from amtcli.front_ends.cqt import CqtConfig
from amtcli.networks.hppnet import HEADS, HppnetConfig
from amtcli.windows import FastWindow, WindowConfig

# One channel; the published weights have a short-time spectrum beside it.
FRONT_END = CqtConfig(
    sample_rate_hz=16000,
    hop_samples=320,
    n_bins=352,
    bins_per_octave=48,
    f_min_hz=27.5 / 2 ** (1 / 24),  # two bins below A0
    dynamic_range_db=80.0,
    stft_window_samples=0,
    stft_f_max_hz=4186 * 2 ** (1 / 24),
)
STFT_WINDOW_SAMPLES = 512
# 20.48 s, as in training, of which 2.56 s at either end are left to the neighbours.
WINDOW = WindowConfig(327680, 245760, 40960, FastWindow(286720, 20480))
DECODER = FramesConfig(
    sample_rate_hz=16000,
    hop_samples=320,
    onset_threshold=0.4,
    onset_peaks=True,
    confirmation_threshold=0.0,
    frame_threshold=0.4,
    offset_threshold=1.0,  # with held_threshold 0: offsets end nothing
    held_threshold=0.0,
    shortest_frames=1,
    velocity_scale=128,
)

_TRUNK = {
    **{f"stem.{i}": f"{name}.0" for i, name in enumerate(("block_1", "block_2", "block_2_5"))},
    **{f"harmonics.{i}": f"conv_3.conv_{i + 1}" for i in range(8)},
    "octaves": "block_4.0",
    "key_octaves": "block_5.0",
    **{f"times.{i}": f"block_{i + 6}.0" for i in range(3)},
}


def our_names(state: Collection[str]) -> dict[str, str]:
    """Lead from our names to those of a checkpoint, of one trunk or of two as its names say."""
    names: dict[str, str] = {}
    for ours, theirs, heads in _parts(state):
        names |= _part_names(ours, theirs, heads)
    return names


def network_config(tensors: Mapping[str, Tensor]) -> HppnetConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    own_onset_trunk = "network.parts.all.trunk.stem.0.weight" not in tensors
    trunk = f"network.parts.{'onset' if own_onset_trunk else 'all'}.trunk"
    return HppnetConfig(
        n_input_channels=tensors[f"{trunk}.stem.0.weight"].shape[1],
        width=len(tensors[f"{trunk}.octaves.weight"]),
        own_onset_trunk=own_onset_trunk,
    )


def _parts(state: Collection[str]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Say which trunks there are: our name, their name, their heads."""
    if any(name.startswith("subnet_frame.") for name in state):
        yield "network.parts.onset", "subnet_onset", HEADS[:1]
        yield "network.parts.rest", "subnet_frame", HEADS[1:]
    else:
        yield "network.parts.all", "subnet_onset", HEADS


def _part_names(ours: str, theirs: str, heads: tuple[str, ...]) -> dict[str, str]:
    names: dict[str, str] = {}
    for our_layer, their_layer in _TRUNK.items():
        names |= pair(f"{ours}.trunk.{our_layer}", f"{theirs}.trunk.{their_layer}")
    for head in heads:
        their_head = f"{theirs}.heads.{head}.head"
        names |= lstm(f"{ours}.heads.{head}.lstm", f"{their_head}.lstm.rnn", ("_l0", "_l0_reverse"))
        names |= pair(f"{ours}.heads.{head}.output", f"{their_head}.linear")
    return names


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved, "model_state_dict", "state_dict")


def _expected(found: Collection[str]) -> Expected:
    return Expected(frozenset(our_names(found).values()))


def _convert(found: Mapping[str, Tensor], _: Path) -> dict[str, Tensor]:
    return renamed(found, our_names(found))


def _describe(tensors: Mapping[str, Tensor], _: Any, __: Mapping[str, int]) -> Settings:
    config = network_config(tensors)
    stft_window_samples = STFT_WINDOW_SAMPLES if config.n_input_channels == 2 else 0
    return Settings(
        network=("hppnet", config),
        front_end=("cqt", replace(FRONT_END, stft_window_samples=stft_window_samples)),
        window=WINDOW,
        decoder=("frames", DECODER),
    )


ORIGIN = Origin(
    title="HPPNet",
    home="https://github.com/WX-Wei/HPPNet",
    trained="MAESTRO, note ends extended by the sustain pedal",
    hears=(
        "Its normalisation averages over the whole window, its LSTMs run over it in both "
        "directions, and the front-end's floor lies 80 dB below the window's greatest value."
    ),
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
)
