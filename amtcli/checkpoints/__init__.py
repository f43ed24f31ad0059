"""Checkpoints as their authors publish them, one file per origin, to tensors of our own names.

An origin tells its files by the names of their tensors, and turns these into tensors named
``front_end.…`` and ``network.…``. Nothing in a checkpoint is ever executed. A new origin is added
to ``ORIGINS`` and nowhere else.
"""

from __future__ import annotations

from amtcli.checkpoints.autoregressive import ORIGIN as AUTOREGRESSIVE
from amtcli.checkpoints.dynest import ORIGIN as DYNEST
from amtcli.checkpoints.hcqt_hppnet import ORIGIN as HCQT_HPPNET
from amtcli.checkpoints.hppnet import ORIGIN as HPPNET
from amtcli.checkpoints.hpt import ORIGIN as HPT
from amtcli.checkpoints.onsets_and_frames import ORIGIN as ONSETS_AND_FRAMES
from amtcli.checkpoints.onsets_velocities import ORIGIN as ONSETS_VELOCITIES
from amtcli.checkpoints.origin import Origin
from amtcli.checkpoints.transkun import ORIGIN as TRANSKUN

ORIGINS: dict[str, Origin] = {
    "autoregressive": AUTOREGRESSIVE,
    "dynest": DYNEST,
    "hcqt_hppnet": HCQT_HPPNET,
    "hppnet": HPPNET,
    "hpt": HPT,
    "onsets_and_frames": ONSETS_AND_FRAMES,
    "onsets_velocities": ONSETS_VELOCITIES,
    "transkun": TRANSKUN,
}
