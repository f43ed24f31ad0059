"""Checkpoints of Onsets and Velocities (``OnsetsAndVelocities_….torch``): one state dict.

Beside the tensors, this file knows the settings that the published ones were trained with and
that their scores were reached with.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import renamed
from amtcli.decoders.onset_peaks import OnsetPeaksConfig
from amtcli.errors import ModelError
from amtcli.front_ends.log_mel import LogMelConfig
from amtcli.networks.onsets_velocities import OnsetsVelocitiesConfig
from amtcli.notes import N_KEYS
from amtcli.windows import FastWindow, WindowConfig

FRONT_END = LogMelConfig(
    sample_rate_hz=16000,
    window_samples=2048,
    hop_samples=384,
    n_mels=229,
    f_min_hz=50.0,
    f_max_hz=8000.0,
    mel_scale="htk",
    equal_area=False,
    spectrum="power",
    logarithm="decibel",
    floor=1e-10,
    dynamic_range_db=80.0,
)
# A minute, of which 2.4 s at either end are left to the neighbours: more than a convolution sees.
WINDOW = WindowConfig(960000, 883200, 38400, FastWindow(921600, 19200))
# Nothing of the network says where notes end. Of 119,104 notes in 40 Disklavier performances,
# with the pedal, 29 % end within the usual tolerance of 0.6 s; no other length does much better.
DECODER = OnsetPeaksConfig(
    sample_rate_hz=16000,
    hop_samples=384,
    threshold=0.74,
    blur_deviation_frames=1.0,
    blur_frames=11,
    onset_shift_s=-0.01,
    longest_note_s=0.6,
)

N_STEM_MODULES = 3
N_ONSET_STAGES = 3
N_ONSET_MODULES = 3
N_VELOCITY_MODULES = 1
_N_STEM_BRANCHES, _N_STAGE_BRANCHES = 4, 3

_WEIGHT = ("weight",)
_LAYER = ("weight", "bias")
_NORM = (*_LAYER, "running_mean", "running_var", "num_batches_tracked")


def network_config(tensors: Mapping[str, Tensor]) -> OnsetsVelocitiesConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    return OnsetsVelocitiesConfig(
        n_mels=len(tensors["network.stem.norm.weight"]) // 2,
        n_stem_modules=N_STEM_MODULES,
        n_onset_stages=N_ONSET_STAGES,
        n_onset_modules=N_ONSET_MODULES,
        n_velocity_modules=N_VELOCITY_MODULES,
        head_width=len(tensors["network.velocity_stage.output.weight"][0]),
    )


def _in_our_shape(name: str, tensor: Tensor, path: Path) -> Tensor:
    """Drop axes of one entry: theirs are convolutions over images one column or row wide."""
    try:
        if name == "network.stem.keys.0.weight":
            return tensor.reshape(-1, N_KEYS, tensor.shape[2])
        if name.endswith(("collapse.0.weight", "hidden.0.weight", "output.weight")):
            return tensor.flatten(1, 2)
    except (IndexError, RuntimeError) as error:
        shape = tuple(tensor.shape)
        raise ModelError(f"{path}: the tensor for {name} cannot have shape {shape}") from error
    return tensor


def _named(ours: str, theirs: str, parts: tuple[str, ...]) -> dict[str, str]:
    return {f"network.{ours}.{part}": f"{theirs}.{part}" for part in parts}


def _unit(ours: str, layer: str, norm: str) -> dict[str, str]:
    """Name a layer without bias and its normalisation."""
    return _named(f"{ours}.0", layer, _WEIGHT) | _named(f"{ours}.1", norm, _NORM)


def _module(ours: str, theirs: str, n_branches: int) -> dict[str, str]:
    """Name a context-aware module and the normalisation behind it."""
    names = _named(f"{ours}.0.squeeze", f"{theirs}.0.se.fc.0", _LAYER)
    names |= _named(f"{ours}.0.excite", f"{theirs}.0.se.fc.2", _LAYER)
    names |= _unit(f"{ours}.0.around", f"{theirs}.0.skip.0", f"{theirs}.0.skip.1")
    for i in range(n_branches):
        branch = f"{theirs}.0.hdcs.{i}"
        names |= _unit(f"{ours}.0.branches.{i}", f"{branch}.0", f"{branch}.1")
    return names | _named(f"{ours}.1", f"{theirs}.1", _NORM)


def _stem() -> dict[str, str]:
    names = _named("stem.norm", "specnorm.bn", _NORM)
    names |= _unit("stem.input", "stem.0", "stem.1")
    for i in range(N_STEM_MODULES):
        names |= _module(f"stem.blocks.{i}", f"stem.{3 + i}", _N_STEM_BRANCHES)
    end = 3 + N_STEM_MODULES
    return names | _unit("stem.keys", f"stem.{end}.conv", f"stem.{end + 1}")


def _stage(ours: str, theirs: str, n_modules: int) -> dict[str, str]:
    names = _unit(f"{ours}.input", f"{theirs}.0.0", f"{theirs}.0.1")
    for i in range(n_modules):
        names |= _module(f"{ours}.blocks.{i}", f"{theirs}.0.{3 + i}", _N_STAGE_BRANCHES)
    end = 3 + n_modules
    names |= _unit(f"{ours}.collapse", f"{theirs}.0.{end}", f"{theirs}.0.{end + 1}")
    head = f"{theirs}.0.{end + 3}"
    names |= _unit(f"{ours}.hidden", f"{head}.0", f"{head}.1")
    names |= _named(f"{ours}.output", f"{head}.4", _LAYER)
    return names | _named(f"{ours}.norm", f"{theirs}.1.bn", _NORM)


_NAMES = _stem() | _stage("velocity_stage", "velocity_stage", N_VELOCITY_MODULES)
for _number in range(N_ONSET_STAGES):
    _NAMES |= _stage(f"onset_stages.{_number}", f"onset_stages.{_number}", N_ONSET_MODULES)


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved)


def _expected(_: Collection[str]) -> Expected:
    return Expected(frozenset(_NAMES.values()))


def _convert(found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    tensors = renamed(found, _NAMES)
    return {name: _in_our_shape(name, tensor, path) for name, tensor in tensors.items()}


def _describe(tensors: Mapping[str, Tensor], _: Any, __: Mapping[str, int]) -> Settings:
    return Settings(
        network=("onsets_velocities", network_config(tensors)),
        front_end=("log_mel", FRONT_END),
        window=WINDOW,
        decoder=("onset_peaks", DECODER),
    )


ORIGIN = Origin(
    title="Onsets and Velocities (Fernandez, iamusica)",
    home="https://github.com/andres-fr/iamusica_training",
    trained="MAESTRO v3.0.0, onsets and velocities only",
    hears=(
        "Its squeeze-and-excite gates average over the whole window, and the front-end's floor "
        "lies 80 dB below the window's loudest cell."
    ),
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
)
