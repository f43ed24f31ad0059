"""Checkpoints as their authors publish them, one file per origin, to tensors of our own names.

A reader takes the path of a checkpoint and returns tensors named ``front_end.…`` and
``network.…``, or raises ModelError. Nothing in a checkpoint is ever executed. A new origin is
added to ``READERS`` and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from amtcli.checkpoints.autoregressive import read_checkpoint as read_autoregressive
from amtcli.checkpoints.hcqt_hppnet import read_checkpoint as read_hcqt_hppnet
from amtcli.checkpoints.hppnet import read_checkpoint as read_hppnet
from amtcli.checkpoints.hpt import read_checkpoint as read_hpt
from amtcli.checkpoints.onsets_and_frames import read_checkpoint as read_onsets_and_frames
from amtcli.checkpoints.onsets_velocities import read_checkpoint as read_onsets_velocities
from amtcli.checkpoints.transkun import read_checkpoint as read_transkun

READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "autoregressive": read_autoregressive,
    "hcqt_hppnet": read_hcqt_hppnet,
    "hppnet": read_hppnet,
    "hpt": read_hpt,
    "onsets_and_frames": read_onsets_and_frames,
    "onsets_velocities": read_onsets_velocities,
    "transkun": read_transkun,
}
