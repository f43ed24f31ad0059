"""Names of a checkpoint and ours: tables that lead from our names to theirs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

_PAIR = ("weight", "bias")
_NORM = (*_PAIR, "running_mean", "running_var", "num_batches_tracked")
_LSTM = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Return the tensors of ``names``, which leads from our names to those of the checkpoint."""
    return {ours: state[theirs] for ours, theirs in names.items()}


def pair(ours: str, theirs: str) -> dict[str, str]:
    """Name weight and bias of a layer."""
    return _named(ours, theirs, _PAIR)


def norm(ours: str, theirs: str) -> dict[str, str]:
    """Name the tensors of a batch normalisation."""
    return _named(ours, theirs, _NORM)


def lstm(ours: str, theirs: str, suffixes: Collection[str]) -> dict[str, str]:
    """Name the tensors of an LSTM whose layers and directions end in ``suffixes``."""
    return _named(ours, theirs, [part + suffix for suffix in suffixes for part in _LSTM])


def conv_stack(ours: str, theirs: str) -> dict[str, str]:
    """Name the tensors of a ``ConvStack``, numbered as in Jongwook Kim's sequence of layers."""
    names = pair(f"{ours}.projection", f"{theirs}.fc.0")
    for layer, place in enumerate((0, 3, 8)):
        names |= pair(f"{ours}.convolutions.{layer}", f"{theirs}.cnn.{place}")
        names |= norm(f"{ours}.norms.{layer}", f"{theirs}.cnn.{place + 1}")
    return names


def _named(ours: str, theirs: str, parts: Collection[str]) -> dict[str, str]:
    return {f"{ours}.{part}": f"{theirs}.{part}" for part in parts}
