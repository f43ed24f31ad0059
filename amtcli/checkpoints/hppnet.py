"""Checkpoints of HPPNet as its program saves them: whole modules."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

from torch import Tensor

from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.checkpoints.renaming import lstm, pair, renamed
from amtcli.networks.hppnet import HEADS, HppnetConfig

_TRUNK = {
    **{f"stem.{i}": f"{name}.0" for i, name in enumerate(("block_1", "block_2", "block_2_5"))},
    **{f"harmonics.{i}": f"conv_3.conv_{i + 1}" for i in range(8)},
    "octaves": "block_4.0",
    "key_octaves": "block_5.0",
    **{f"times.{i}": f"block_{i + 6}.0" for i in range(3)},
}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint into tensors with our names. Raises ModelError when it is none."""
    state = module_tensors(load_inert(path))
    return renamed(state, our_names(state), (), path)


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
