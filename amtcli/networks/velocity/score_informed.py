"""A branch that listens and a module that corrects it by the score.

"Score-Informed MIDI Velocity Estimation" (arXiv 2508.07757, SMC 2026): any branch goes with any
module. Its time grid runs 0.2 % off its labels' one; here every frame is at a whole number of
hops, for sound and score alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from amtcli.networks.velocity.bilstm import BiLstm, BiLstmConfig
from amtcli.networks.velocity.direct import Direct, DirectConfig
from amtcli.networks.velocity.dual_gated import DualGated, DualGatedConfig
from amtcli.networks.velocity.dynest import DynestBranch, DynestBranchConfig
from amtcli.networks.velocity.hppnet import HppnetBranch, HppnetBranchConfig
from amtcli.networks.velocity.hpt import HptBranch, HptBranchConfig
from amtcli.networks.velocity.note_editor import NoteEditor, NoteEditorConfig
from amtcli.networks.velocity.score import Acoustic, ScoreRolls
from amtcli.networks.velocity.scrr import Scrr, ScrrConfig
from amtcli.networks.velocity.velocity_network import VelocityNetwork

_PARTS: dict[type[Any], type[nn.Module]] = {
    HptBranchConfig: HptBranch,
    HppnetBranchConfig: HppnetBranch,
    DynestBranchConfig: DynestBranch,
    DirectConfig: Direct,
    NoteEditorConfig: NoteEditor,
    BiLstmConfig: BiLstm,
    DualGatedConfig: DualGated,
    ScrrConfig: Scrr,
}


@dataclass(frozen=True)
class ScoreInformedConfig:
    """One table for each half; its ``kind`` says which branch or module it is."""

    branch: HptBranchConfig | HppnetBranchConfig | DynestBranchConfig
    module: DirectConfig | NoteEditorConfig | BiLstmConfig | DualGatedConfig | ScrrConfig


class ScoreInformed(VelocityNetwork):
    """What the branch reads (see there) and the score's rolls to velocities."""

    def __init__(self, config: ScoreInformedConfig) -> None:
        super().__init__()
        self.branch = _PARTS[type(config.branch)](config.branch)
        self.module = _PARTS[type(config.module)](config.module)

    def estimate(self, features: Tensor, score: ScoreRolls) -> Tensor:
        """Listen, then correct; the module always computes in float32."""
        acoustic: Acoustic = self.branch(features)
        with torch.autocast(features.device.type, enabled=False):
            velocities: Tensor = self.module(acoustic, score)
        return velocities
