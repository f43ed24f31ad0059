"""Checkpoints of DynEst, as its training program saves them: a state_dict beside the optimiser's.

Those of its multi-task network with a mixture of experts, on sones. Projections that the program
computes and throws away have tensors in them, which are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from amtcli.checkpoints.origin import Expected, Origin, Settings, tensors_under
from amtcli.checkpoints.renaming import norm, pair, renamed
from amtcli.decoders.beats import BeatsConfig
from amtcli.front_ends.bark import BarkConfig
from amtcli.networks.dynest import DynestConfig
from amtcli.windows import FastWindow, WindowConfig

FRONT_END = BarkConfig(
    sample_rate_hz=22050, window_samples=1024, hop_samples=441, full_scale_db=96.0
)
# A minute, as in training, of which 5 s at either end are left to the neighbours; the first one
# begins with the recording, and all of them a multiple of 25 frames later, as the scales lie.
WINDOW = WindowConfig(1323000, 1102500, 0, FastWindow(1212750, 0))
DECODER = BeatsConfig(
    sample_rate_hz=22050,
    hop_samples=441,
    beat_threshold=0.5,
    downbeat_threshold=0.5,
    change_threshold=0.731,  # a logit of 1
    reach_frames=3,
)

# Tasks in our order: the head, and the number of its gate.
_TASKS = {
    "beat": ("head_beat_out", 1),
    "downbeat": ("head_db_out", 2),
    "change": ("head_cp_out", 3),
    "dynamics": ("head_dyn_out", 0),
}
_UNUSED = frozenset(
    f"proj_{task}.{part}" for task in ("dyn", "beat", "db", "cp") for part in ("weight", "bias")
)
# Ours, theirs: what joins slots, and the number of the block behind it.
_MERGES = {
    "first.0": ("conv1", 11),
    "first.1": ("conv02", 12),
    **{f"second.{i}": (f"conv2{i + 1}", 21 + i) for i in range(3)},
    **{f"third.{i}": (f"conv3{i + 1}", 31 + i) for i in range(3)},
    **{f"fourth.{i}": (f"conv4{i + 1}", 41 + i) for i in range(2)},
    "fifth": ("conv51", 51),
}
_ATTENTIONS = (("self_att23", "bn23"), ("self_att", "bn4"))
_SPREADS = (121, 221, 232, 321, 332, 421)


def network_config(tensors: Mapping[str, Tensor]) -> DynestConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    n_latent = tensors["network.heads.beat.weight"].shape[1]
    return DynestConfig(
        n_features=len(tensors["network.norm.weight"]),
        stride=tensors["network.encoder.spreads.0.spread.weight"].shape[2],
        n_latent=n_latent,
        n_experts=len(tensors["network.mixture.hidden.weight"]) // n_latent,
    )


def _merge(ours: str, theirs: str, number: int) -> dict[str, str]:
    """Name one layer at one scale; of those in the middle and at the end there is a norm."""
    block = f"encoder.block{number}"
    names = pair(f"{ours}.join", f"encoder.{theirs}") | pair(f"{ours}.block.around", f"{block}.sk")
    for i in range(2):
        names |= pair(f"{ours}.block.convolutions.{i}", f"{block}.conv{i + 1}")
    for i in range(3):
        names |= norm(f"{ours}.block.norms.{i}", f"{block}.bn{i + 1}")
    if number // 10 in (3, 5):
        names |= norm(f"{ours}.norm", f"encoder.bn{number}")
    return names


def _attention(ours: str, theirs: str, their_norm: str) -> dict[str, str]:
    names = norm(f"{ours}.norm", f"encoder.{their_norm}")
    ours, theirs = f"{ours}.attention", f"encoder.{theirs}.att"
    names |= {f"{ours}.in_proj_{part}": f"{theirs}.in_proj_{part}" for part in ("weight", "bias")}
    return names | pair(f"{ours}.out_proj", f"{theirs}.out_proj")


def _one_to_one() -> dict[str, str]:
    """Name all but the mixture."""
    ours = "network.encoder"
    names = norm("network.norm", "bn0") | norm(f"{ours}.norm", "encoder.bn0")
    names |= pair(f"{ours}.output", "encoder.conv4")
    for merge, (join, number) in _MERGES.items():
        names |= _merge(f"{ours}.{merge}", join, number)
    for i, attention in enumerate(_ATTENTIONS):
        names |= _attention(f"{ours}.attentions.{i}", *attention)
    for i, number in enumerate(_SPREADS):
        names |= pair(f"{ours}.spreads.{i}.spread", f"encoder.us{number}")
    for task, (head, _) in _TASKS.items():
        names |= pair(f"network.heads.{task}", head)
    return names


_NAMES = _one_to_one()


def _joined(found: Collection[str]) -> dict[str, list[str]]:
    """Name the tensors of the mixture, each of ours made of several, in order."""
    numbers = {name.split(".")[2] for name in found if name.startswith("mmoe.experts.")}
    experts = [f"mmoe.experts.{i}.net" for i in sorted(numbers, key=int)] or ["mmoe.experts.0.net"]
    gates = [f"mmoe.gates.{gate}" for _, gate in _TASKS.values()]
    parts = {
        "hidden": [f"{expert}.0" for expert in experts],
        "experts": [f"{expert}.2" for expert in experts],
        "gates": gates,
    }
    return {
        f"network.mixture.{ours}.{part}": [f"{name}.{part}" for name in theirs]
        for ours, theirs in parts.items()
        for part in ("weight", "bias")
    }


def _find(saved: Any) -> dict[str, Tensor]:
    return tensors_under(saved, "model")


def _expected(found: Collection[str]) -> Expected:
    of_mixture = (name for names in _joined(found).values() for name in names)
    return Expected(frozenset((*_NAMES.values(), *of_mixture)), _UNUSED)


def _convert(found: Mapping[str, Tensor], _: Path) -> dict[str, Tensor]:
    joined = {
        ours: torch.cat([found[name] for name in theirs]) for ours, theirs in _joined(found).items()
    }
    return renamed(found, _NAMES) | joined


def _describe(tensors: Mapping[str, Tensor], _: Any, __: Mapping[str, int]) -> Settings:
    config = network_config(tensors)
    if config.n_features != FRONT_END.n_bands:
        raise ValueError(f"it hears {config.n_features} bands, of sones there are 22")
    return Settings(
        network=("dynest", config),
        front_end=("bark", FRONT_END),
        window=WINDOW,
        decoder=("beats", DECODER),
    )


ORIGIN = Origin(
    title="DynEst (He et al., piano-dynamic-estimation)",
    home="https://github.com/zhanh-he/piano-dynamic-estimation",
    trained=(
        "MazurkaBL, Chopin's mazurkas, of which they took the last beat of each bar, not the "
        "first, for its downbeat"
    ),
    hears=(
        "Attention over its coarsest scale reaches all of the window, and its scales lie on a grid "
        "of 5 and 25 frames from the window's start."
    ),
    find=_find,
    expected=_expected,
    convert=_convert,
    describe=_describe,
    departure="But windows overlap by ten seconds; their program puts them end to end.",
)
