"""Checkpoints of the multi-state autoregressive network.

"online_amt" saves a dictionary with ``model_state_dict``, "low-latency-amt" the whole module;
tensors have the same names in both, and states the same numbers. Constants of the front-end may
lie beside them: they are compared with ours instead of being stored. Neither says its hop or by
how many frames its labels were shifted.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import conv_stack, lstm, pair, renamed
from amtcli.decoders.note_states import NoteStatesConfig
from amtcli.errors import ModelError
from amtcli.front_ends.log_mel import LogMelConfig, mel_filters
from amtcli.front_ends.windowing import hann
from amtcli.networks.autoregressive import AutoregressiveConfig
from amtcli.windows import FastWindow, WindowConfig

N_MELS = 229  # fixed in the programs
WINDOW_SAMPLES = 2048  # where the front-end's constants are not in the file
WINDOW_FRAMES = 640
VELOCITY = 64  # of every note; the network does not tell
ONLINE_BOOST = 2.0  # online_amt's; low-latency-amt takes the likeliest state

_NAMES = {
    **conv_stack("network.acoustic", "acoustic_model"),
    **lstm("network.language.lstm", "language_model", ("_l0", "_l1")),
    "network.language.embedding.weight": "class_embedding.weight",
    **pair("network.language.output", "language_post.0"),
}
_FOURIER_KEY = "melspectrogram.stft.forward_basis"
_MEL_KEY = "melspectrogram.mel_basis"


def network_config(tensors: Mapping[str, Tensor]) -> AutoregressiveConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    first, second, third = (
        tensors[f"network.acoustic.convolutions.{layer}.weight"].shape[2] for layer in range(3)
    )
    return AutoregressiveConfig(
        n_mels=N_MELS,
        conv_complexity=len(tensors["network.acoustic.norms.0.weight"]),
        lstm_complexity=tensors["network.language.output.weight"].shape[1] // 16,
        time_kernels=(first, second, third),
    )


def _check_constants(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint whose window or mel filters are not those of our front-end."""
    ours = {}
    if _FOURIER_KEY in state:  # real parts, then imaginary ones; at 0 Hz that is the window
        ours[_FOURIER_KEY] = hann(state[_FOURIER_KEY].shape[-1]).float()
    if _MEL_KEY in state:
        window_samples = 2 * (state[_MEL_KEY].shape[-1] - 1)
        ours[_MEL_KEY] = mel_filters(_front_end(window_samples)).T
    for key, tensor in ours.items():
        theirs = state[key][0, 0] if key == _FOURIER_KEY else state[key]
        if theirs.shape != tensor.shape or not torch.allclose(theirs, tensor, rtol=0, atol=1e-6):
            raise ModelError(f"{path}: {key} is not that of the published front-end")


def _front_end(window_samples: int, hop_samples: int = 512) -> LogMelConfig:
    return LogMelConfig(
        sample_rate_hz=16000,
        window_samples=window_samples,
        hop_samples=hop_samples,
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


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved, "model_state_dict", "state_dict")


def _expected(_: Collection[str]) -> Expected:
    return Expected(frozenset(_NAMES.values()), frozenset((_FOURIER_KEY, _MEL_KEY)))


def _convert(found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    _check_constants(found, path)
    return renamed(found, _NAMES)


def _describe(tensors: Mapping[str, Tensor], saved: Any, options: Mapping[str, int]) -> Settings:
    found = _find(saved)
    window_samples = found[_FOURIER_KEY].shape[-1] if _FOURIER_KEY in found else WINDOW_SAMPLES
    hop_samples = options["hop_samples"]
    if hop_samples < 1:
        raise ValueError(f"hop_samples is {hop_samples}, below 1")
    front_end = _front_end(window_samples, hop_samples)
    is_online = isinstance(saved, dict) and "model_complexity_conv" in saved
    decoder = NoteStatesConfig(
        sample_rate_hz=front_end.sample_rate_hz,
        hop_samples=hop_samples,
        label_shift_frames=options["label_shift_frames"],
        onset_boost=ONLINE_BOOST if is_online else 1.0,
        velocity=VELOCITY,
    )
    return Settings(
        network=("autoregressive", network_config(tensors)),
        front_end=("log_mel", front_end),
        window=_window(window_samples, hop_samples),
        decoder=("note_states", decoder),
    )


def _window(window_samples: int, hop_samples: int) -> WindowConfig:
    """Leave to the neighbours what a frame hears around itself; more overlap changes nothing."""
    margin_frames = -(-window_samples // (2 * hop_samples)) + 4
    margin, length = margin_frames * hop_samples, WINDOW_FRAMES * hop_samples
    own = length - 2 * margin
    return WindowConfig(length, own, margin, FastWindow(own, margin))


ORIGIN = Origin(
    title="the multi-state autoregressive network (online_amt, low-latency-amt)",
    home="https://github.com/jdasam/online_amt, https://github.com/jdasam/low-latency-amt",
    trained="MAESTRO, note ends extended by the sustain pedal; velocities are not told",
    hears=(
        "It hears a few frames ahead and remembers what came before, across windows: however a "
        "recording is cut, the notes are the same. It can transcribe live."
    ),
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
    options={"hop_samples": 512, "label_shift_frames": 0},
)
