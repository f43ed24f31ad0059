"""Objectives, one file for each family of networks. A new one is added to ``OBJECTIVES`` alone."""

from __future__ import annotations

from typing import Any

from amtcli.training.objectives.autoregressive import (
    AutoregressiveObjective,
    AutoregressiveObjectiveConfig,
)
from amtcli.training.objectives.dynest import DynestObjective, DynestObjectiveConfig
from amtcli.training.objectives.hppnet import (
    HcqtHppnetObjective,
    HcqtHppnetObjectiveConfig,
    HppnetObjective,
    HppnetObjectiveConfig,
)
from amtcli.training.objectives.hpt import HptNotes, HptNotesConfig, HptPedals, HptPedalsConfig
from amtcli.training.objectives.metre import MetreObjective, MetreObjectiveConfig
from amtcli.training.objectives.objective import Objective
from amtcli.training.objectives.onsets_and_frames import (
    OnsetsAndFramesObjective,
    OnsetsAndFramesObjectiveConfig,
)
from amtcli.training.objectives.onsets_velocities import (
    OnsetsVelocitiesObjective,
    OnsetsVelocitiesObjectiveConfig,
)
from amtcli.training.objectives.swift import SwiftObjective, SwiftObjectiveConfig
from amtcli.training.objectives.transkun import TranskunObjective, TranskunObjectiveConfig
from amtcli.training.objectives.velocity import VelocityObjective, VelocityObjectiveConfig

OBJECTIVES: dict[str, tuple[type[Any], type[Objective]]] = {
    "autoregressive": (AutoregressiveObjectiveConfig, AutoregressiveObjective),
    "dynest": (DynestObjectiveConfig, DynestObjective),
    "hcqt_hppnet": (HcqtHppnetObjectiveConfig, HcqtHppnetObjective),
    "hppnet": (HppnetObjectiveConfig, HppnetObjective),
    "hpt_notes": (HptNotesConfig, HptNotes),
    "hpt_pedals": (HptPedalsConfig, HptPedals),
    "metre": (MetreObjectiveConfig, MetreObjective),
    "onsets_and_frames": (OnsetsAndFramesObjectiveConfig, OnsetsAndFramesObjective),
    "onsets_velocities": (OnsetsVelocitiesObjectiveConfig, OnsetsVelocitiesObjective),
    "transkun": (TranskunObjectiveConfig, TranskunObjective),
    "swift": (SwiftObjectiveConfig, SwiftObjective),
    "velocity": (VelocityObjectiveConfig, VelocityObjective),
}
