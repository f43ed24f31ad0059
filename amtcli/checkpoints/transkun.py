"""Checkpoints of Transkun V2, as its program trains and ships them.

A file holds ``state_dict`` and, when training wrote it, perhaps ``best_state_dict``, which is
then the one to use. Two of its tensors are constants of the front-end: they are compared with
ours instead of being stored.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from amtcli.errors import ModelError
from amtcli.front_ends.multi_window_log_mel import MultiWindowLogMelConfig, mel_filters

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


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a Transkun V2 checkpoint into tensors with our names.

    Raises ModelError when the file holds anything but tensors, when tensors are missing or left
    over, and when its front-end is not the published one.
    """
    state = _read_state(path)
    rules = list(_rules(state))
    expected = {key for _, keys, _ in rules for key in keys} | {_HANN_KEY, _MEL_KEY}
    wrong = [f"{key} is missing" for key in sorted(expected - state.keys())]
    wrong += [f"{key} is unexpected" for key in sorted(state.keys() - expected)]
    if wrong:
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        raise ModelError(f"{path} is not Transkun V2: {', '.join(wrong[:4])}{more}")
    _check_constants(state, path)
    return {name: convert(*(state[key] for key in keys)) for name, keys, convert in rules}


def _read_state(path: Path) -> dict[str, Tensor]:
    """Load the tensors of a checkpoint, executing nothing that it may hold."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        OSError,
        LookupError,
        ValueError,
    ) as error:
        raise ModelError(f"{path} is not a checkpoint that holds tensors alone") from error
    if isinstance(checkpoint, dict):
        state = checkpoint.get("best_state_dict", checkpoint.get("state_dict"))
        if isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values()):
            return state
    raise ModelError(f"{path} holds no state_dict of tensors")


def _rules(state: dict[str, Tensor]) -> Iterator[_Rule]:
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


def _check_constants(state: dict[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint whose fixed window or mel filters are not those of our front-end."""
    hann, mel = state[_HANN_KEY], state[_MEL_KEY]
    config = MultiWindowLogMelConfig(
        sample_rate_hz=44100,
        window_samples=len(hann),
        hop_samples=1024,
        n_mels=mel.shape[-1],
        f_min_hz=30.0,
        f_max_hz=8000.0,
        n_learned_windows=len(state[f"{_SPECTROGRAM}.winGen.center"]),
        epsilon=1e-5,
    )
    ours = {_HANN_KEY: torch.hann_window(len(hann)), _MEL_KEY: mel_filters(config)}
    for key, tensor in ours.items():
        theirs = state[key]
        if theirs.shape != tensor.shape or not torch.allclose(theirs, tensor, rtol=0, atol=1e-6):
            raise ModelError(f"{path}: {key} is not that of the published front-end")
