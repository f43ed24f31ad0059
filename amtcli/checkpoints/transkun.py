"""Checkpoints of Transkun V2, as its program trains and ships them.

A file holds ``state_dict`` and, when training wrote it, perhaps ``best_state_dict``, which is
then the one to use. Two of its tensors are constants of the front-end: they are compared with
ours instead of being stored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.decoders.semi_crf import SemiCrfConfig
from amtcli.errors import ModelError
from amtcli.front_ends.multi_window_log_mel import MultiWindowLogMelConfig, mel_filters
from amtcli.front_ends.windowing import hann
from amtcli.networks.transkun import TranskunConfig
from amtcli.windows import FastWindow, WindowConfig

N_HEADS = 8  # no tensor tells
# 16 s, as in training, every 8.01 s (345 frames); 14 s in a hurry.
WINDOW = WindowConfig(705600, 353280, 352800, FastWindow(617472, 88200))
DECODER = SemiCrfConfig(sample_rate_hz=44100, hop_samples=1024)

# Ours, theirs: names of modules that hold a weight and a bias.
_MODULES = {
    "network.stem.input": "backbone.inputConv",
    **{f"network.stem.convolutions.{i}": f"backbone.downConv.{4 * i + 1}" for i in range(4)},
    **{f"network.stem.norms.{i}": f"backbone.downConv.{4 * i + 2}" for i in range(4)},
    **{
        f"network.{ours}.{layer}": f"backbone.{theirs}.{their_layer}"
        for ours, theirs in (
            ("stem.mel_embedding", "posEmbedBuilder"),
            ("token_embedding", "posEmbedBuilderAttnTF"),
            ("symbol_embedding", "posEmbedBuilderAttnTE"),
        )
        for layer, their_layer in (("projection", "proj"), ("hidden", "mlp.0"), ("output", "mlp.3"))
    },
    "network.scorer.map": "scorer.map.0",
    "network.velocity_head.hidden": "velocityPredictor.0",
    "network.velocity_head.output": "velocityPredictor.3",
    "network.refinement_head.hidden": "refinedOFPredictor.0",
    "network.refinement_head.output": "refinedOFPredictor.3",
}
_BLOCKS = "backbone.encoderLayers"
_SPECTROGRAM = "framewiseFeatureExtractor.spectrogramExtractor"
_HANN_KEY = f"{_SPECTROGRAM}.win"
_MEL_KEY = "framewiseFeatureExtractor.freq2mels"

# Our name, their keys, and how their tensors become ours.
_Rule = tuple[str, tuple[str, ...], Callable[..., Tensor]]


def network_config(tensors: Mapping[str, Tensor]) -> TranskunConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    first, expand = (
        tensors[f"network.{name}.weight"] for name in ("stem.input", "blocks.0.time_ffn.expand")
    )
    return TranskunConfig(
        n_input_channels=first.shape[1],
        base_channels=first.shape[0],
        width=expand.shape[1],
        n_heads=N_HEADS,
        n_layers=sum(name.endswith(".time_ffn.expand.weight") for name in tensors),
        ffn_factor=expand.shape[0] // expand.shape[1],
        head_width=len(tensors["network.velocity_head.hidden.weight"]),
    )


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved, "best_state_dict", "state_dict")


def _expected(found: Collection[str]) -> Expected:
    keys = (key for _, keys, _ in _rules(found) for key in keys)
    return Expected(frozenset((*keys, _HANN_KEY, _MEL_KEY)))


def _convert(found: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    _check_constants(found, path)
    return {name: convert(*(found[key] for key in keys)) for name, keys, convert in _rules(found)}


def _describe(tensors: Mapping[str, Tensor], saved: Any, _: Mapping[str, int]) -> Settings:
    return Settings(
        network=("transkun", network_config(tensors)),
        front_end=("multi_window_log_mel", _front_end(_find(saved))),
        window=WINDOW,
        decoder=("semi_crf", DECODER),
    )


def _rules(state: Collection[str]) -> Iterator[_Rule]:
    """Say, for each of our tensors, what it is made of."""
    for ours, theirs in _MODULES.items():
        yield from _module(ours, theirs)
    yield "front_end.centers", (f"{_SPECTROGRAM}.winGen.center",), _as_it_is
    yield "front_end.widths", (f"{_SPECTROGRAM}.winGen.sigma",), _as_it_is
    yield "network.frames.weight", ("backbone.upConv1dSkip.weight",), _phases_first
    yield "network.frames.bias", ("backbone.upConv1dSkip.bias",), _as_it_is
    numbers = {key.split(".")[2] for key in state if key.startswith(f"{_BLOCKS}.")}
    for number in sorted(numbers):
        for axis, letter in (("frequency", "F"), ("time", "T")):
            yield from _half_block(f"network.blocks.{number}.{axis}", f"{_BLOCKS}.{number}", letter)


def _module(ours: str, theirs: str) -> Iterator[_Rule]:
    for name in ("weight", "bias"):
        yield f"{ours}.{name}", (f"{theirs}.{name}",), _as_it_is


def _half_block(ours: str, theirs: str, letter: str) -> Iterator[_Rule]:
    """Attention and feed-forward along one axis."""
    attention, ffn = f"{theirs}.mhaBlock{letter}", f"{theirs}.fnnBlock{letter}"
    query, key, value = (f"{attention}.module.{name}_proj_weight" for name in "qkv")
    yield f"{ours}_attention.scale", (f"{attention}.scale",), _as_it_is
    yield f"{ours}_attention.query.weight", (query,), _transposed
    yield f"{ours}_attention.key_value.weight", (key, value), _transposed
    yield from _module(f"{ours}_attention.output", f"{attention}.module.out_proj")
    yield f"{ours}_ffn.scale", (f"{ffn}.scale",), _as_it_is
    yield from _module(f"{ours}_ffn.expand", f"{ffn}.module.0")
    yield from _module(f"{ours}_ffn.contract", f"{ffn}.module.3")


def _as_it_is(tensor: Tensor) -> Tensor:
    return tensor


def _transposed(*tensors: Tensor) -> Tensor:
    """Turn projections stored (in, out) into one linear weight (out, in), stacked in order."""
    return torch.cat([tensor.T for tensor in tensors])


def _phases_first(weight: Tensor) -> Tensor:
    """Transposed convolution (in, out, phase) to one linear weight per phase (phase, out, in)."""
    return weight.permute(2, 1, 0)


def _check_constants(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint whose fixed window or mel filters are not those of our front-end."""
    config = _front_end(state)
    ours = {_HANN_KEY: hann(config.window_samples).float(), _MEL_KEY: mel_filters(config)}
    for key, tensor in ours.items():
        theirs = state[key]
        if theirs.shape != tensor.shape or not torch.allclose(theirs, tensor, rtol=0, atol=1e-6):
            raise ModelError(f"{path}: {key} is not that of the published front-end")


def _front_end(state: Mapping[str, Tensor]) -> MultiWindowLogMelConfig:
    return MultiWindowLogMelConfig(
        sample_rate_hz=44100,
        window_samples=len(state[_HANN_KEY]),
        hop_samples=1024,
        n_mels=state[_MEL_KEY].shape[-1],
        f_min_hz=30.0,
        f_max_hz=8000.0,
        n_learned_windows=len(state[f"{_SPECTROGRAM}.winGen.center"]),
        epsilon=1e-5,
    )


ORIGIN = Origin(
    title="Transkun V2",
    home="https://github.com/Yujia-Yan/Transkun",
    trained="MAESTRO v3.0.0 with augmentation",
    hears=(
        "The window is brought to zero mean and unit deviation, group normalisation averages "
        "over it, and attention reaches all of it."
    ),
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
)
