"""Objectives, one file each. A new one is added to ``OBJECTIVES`` and nowhere else."""

from __future__ import annotations

from typing import Any

from amtcli.training.objectives.objective import Objective

OBJECTIVES: dict[str, tuple[type[Any], type[Objective]]] = {}
