"""Checkpoints of high-resolution piano transcription by Kong et al.

The published file (Zenodo 4034264) holds the tensors of a note and of a pedal network under
``model``; a file of their training program holds one of the two there. Constants of the
front-end lie beside them: they are compared with ours instead of being stored. Settings are
those of the authors' own inference.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import renamed
from amtcli.decoders.regression import RegressionConfig
from amtcli.errors import ModelError
from amtcli.front_ends.log_mel import LogMelConfig, mel_filters
from amtcli.front_ends.windowing import hann
from amtcli.networks.hpt import HptConfig
from amtcli.windows import FastWindow, WindowConfig

FRONT_END = LogMelConfig(
    sample_rate_hz=16000,
    window_samples=2048,
    hop_samples=160,
    n_mels=229,
    f_min_hz=30.0,
    f_max_hz=8000.0,
    mel_scale="slaney",
    equal_area=True,
    spectrum="power",
    logarithm="decibel",
    floor=1e-10,
    dynamic_range_db=math.inf,
)
# 10 s every 5 s, the first from the recording's first sample on.
WINDOW = WindowConfig(160000, 80000, 0, FastWindow(128000, 0))
DECODER = RegressionConfig(
    sample_rate_hz=16000,
    hop_samples=160,
    onset_threshold=0.3,
    offset_threshold=0.3,
    frame_threshold=0.1,
    pedal_offset_threshold=0.2,
    pedal_frame_threshold=0.5,
    longest_note_s=6.0,
)

N_BLOCKS = 4
NORM_EPSILON = 0.01  # they hand it over where a momentum was meant

_NOTE_MODELS = {
    "onset": "reg_onset_model",
    "offset": "reg_offset_model",
    "frame": "frame_model",
    "velocity": "velocity_model",
}
_PEDAL_MODELS = {
    "pedal_onset": "reg_pedal_onset_model",
    "pedal_offset": "reg_pedal_offset_model",
    "pedal_frame": "reg_pedal_frame_model",
}
_REAL_KEY = "spectrogram_extractor.stft.conv_real.weight"
_IMAGINARY_KEY = "spectrogram_extractor.stft.conv_imag.weight"
_MEL_KEY = "logmel_extractor.melW"
_CONSTANTS = (_REAL_KEY, _IMAGINARY_KEY, _MEL_KEY)

_LAYER = ("weight", "bias")
_NORM = (*_LAYER, "running_mean", "running_var", "num_batches_tracked")
_RECURRENT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def network_config(tensors: Mapping[str, Tensor]) -> HptConfig:
    """Tell the parts and sizes of the network from its tensors (our names)."""
    notes, pedals = (f"network.{part}.norm.weight" in tensors for part in ("notes", "pedals"))
    part, head = ("notes", "onset") if notes else ("pedals", "pedal_onset")
    model = f"network.{part}.heads.{head}"
    return HptConfig(
        notes=notes,
        pedals=pedals,
        n_mels=len(tensors[f"network.{part}.norm.weight"]),
        conv_channels=tuple(
            len(tensors[f"{model}.blocks.{i}.norms.0.weight"]) for i in range(N_BLOCKS)
        ),
        dense_width=len(tensors[f"{model}.dense_norm.weight"]),
        recurrent_width=len(tensors[f"{model}.recurrent.bias_hh_l0"]) // 3,  # three gates
        norm_epsilon=NORM_EPSILON,
    )


def _find(saved: Any) -> dict[str, Tensor]:
    """Gather both networks, their names beginning with ``note_model.`` and ``pedal_model.``."""
    model = saved.get("model", saved) if isinstance(saved, dict) else saved
    if isinstance(model, dict) and any(key in model for key in _PARTS):
        states = {key: tensors_under(model.get(key)) for key in _PARTS}
    else:
        state = tensors_under(model)
        is_pedal = any(name.startswith("reg_pedal_") for name in state)
        states = {"pedal_model" if is_pedal else "note_model": state}
    return {f"{part}.{name}": x for part, state in states.items() for name, x in state.items()}


def _found_parts(found: Collection[str]) -> list[str]:
    return [part for part in _PARTS if any(name.startswith(f"{part}.") for name in found)]


def _expected(found: Collection[str]) -> Expected:
    parts = _found_parts(found) or ["note_model"]
    return Expected(
        needed=frozenset(f"{part}.{name}" for part in parts for name in _PARTS[part].values()),
        unused=frozenset(f"{part}.{name}" for part in parts for name in _CONSTANTS),
    )


def _convert(found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for part in _found_parts(found):
        state = {n.removeprefix(f"{part}."): x for n, x in found.items() if n.startswith(part)}
        _check_constants(state, path)
        tensors |= renamed(state, _PARTS[part])
    return tensors


def _describe(tensors: Mapping[str, Tensor], _: Any, __: Mapping[str, int]) -> Settings:
    return Settings(
        network=("hpt", network_config(tensors)),
        front_end=("log_mel", FRONT_END),
        window=WINDOW,
        decoder=("regression", DECODER),
    )


def _check_constants(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint whose windowed Fourier basis or mel filters are not those of ours."""
    n = FRONT_END.window_samples
    samples, bins = torch.arange(n), torch.arange(n // 2 + 1)
    phase = (bins[:, None] * samples % n).double() * (2 * math.pi / n)
    expected = {
        _REAL_KEY: phase.cos() * hann(n),
        _IMAGINARY_KEY: -phase.sin() * hann(n),
        _MEL_KEY: mel_filters(FRONT_END),
    }
    for key in expected.keys() & state.keys():
        ours, theirs = expected[key].float(), state[key].squeeze()
        if theirs.shape != ours.shape or not torch.allclose(theirs, ours, rtol=0, atol=1e-6):
            raise ModelError(f"{path}: {key} is not that of the published front-end")


def _named(ours: str, theirs: str, parts: tuple[str, ...]) -> dict[str, str]:
    return {f"network.{ours}.{part}": f"{theirs}.{part}" for part in parts}


def _recurrent(ours: str, theirs: str, n_layers: int) -> dict[str, str]:
    suffixes = (f"_l{i}{way}" for i in range(n_layers) for way in ("", "_reverse"))
    return _named(ours, theirs, tuple(part + suffix for suffix in suffixes for part in _RECURRENT))


def _acoustic_model(ours: str, theirs: str) -> dict[str, str]:
    names = _named(f"{ours}.dense", f"{theirs}.fc5", ("weight",))
    names |= _named(f"{ours}.dense_norm", f"{theirs}.bn5", _NORM)
    names |= _recurrent(f"{ours}.recurrent", f"{theirs}.gru", 2)
    names |= _named(f"{ours}.output", f"{theirs}.fc", _LAYER)
    for i in range(N_BLOCKS):
        block, their_block = f"{ours}.blocks.{i}", f"{theirs}.conv_block{i + 1}"
        for layer in range(2):
            convolution = f"{their_block}.conv{layer + 1}"
            names |= _named(f"{block}.convolutions.{layer}", convolution, ("weight",))
            names |= _named(f"{block}.norms.{layer}", f"{their_block}.bn{layer + 1}", _NORM)
    return names


def _conditioned_head(ours: str, theirs: str) -> dict[str, str]:
    names = _recurrent(f"{ours}.recurrent", f"{theirs}_gru", 1)
    return names | _named(f"{ours}.output", f"{theirs}_fc", _LAYER)


def _part(part: str, models: Mapping[str, str]) -> dict[str, str]:
    names = _named(f"{part}.norm", "bn0", _NORM)
    for head, model in models.items():
        names |= _acoustic_model(f"{part}.heads.{head}", model)
    return names


_NOTE_NAMES = (
    _part("notes", _NOTE_MODELS)
    | _conditioned_head("notes.onset", "reg_onset")
    | _conditioned_head("notes.frame", "frame")
)
_PEDAL_NAMES = _part("pedals", _PEDAL_MODELS)


_PARTS = {"note_model": _NOTE_NAMES, "pedal_model": _PEDAL_NAMES}

ORIGIN = Origin(
    title="high-resolution piano transcription (Kong et al.)",
    home="https://github.com/bytedance/piano_transcription, https://zenodo.org/records/4034264",
    trained="MAESTRO v2.0.0, note ends extended by the sustain pedal",
    hears="Its GRUs run over the whole window in both directions.",
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
)
