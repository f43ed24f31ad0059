"""Networks, one file each. A new one is added to ``ARCHITECTURES`` and nowhere else.

``network.Network`` says what each of them offers.
"""

from __future__ import annotations

from typing import Any

from amtcli.networks.autoregressive import Autoregressive, AutoregressiveConfig
from amtcli.networks.dynest import Dynest, DynestConfig
from amtcli.networks.hcqt_hppnet import HcqtHppnet, HcqtHppnetConfig
from amtcli.networks.hppnet import Hppnet, HppnetConfig
from amtcli.networks.hpt import Hpt, HptConfig
from amtcli.networks.metre import Metre, MetreConfig
from amtcli.networks.network import Network
from amtcli.networks.onsets_and_frames import OnsetsAndFrames, OnsetsAndFramesConfig
from amtcli.networks.onsets_velocities import OnsetsVelocities, OnsetsVelocitiesConfig
from amtcli.networks.swift import Swift, SwiftConfig
from amtcli.networks.transkun import Transkun, TranskunConfig
from amtcli.networks.velocity.film_unet import FilmUnet, FilmUnetConfig
from amtcli.networks.velocity.score_informed import ScoreInformed, ScoreInformedConfig
from amtcli.networks.velocity.score_swift import ScoreSwift, ScoreSwiftConfig

ARCHITECTURES: dict[str, tuple[type[Any], type[Network]]] = {
    "autoregressive": (AutoregressiveConfig, Autoregressive),
    "dynest": (DynestConfig, Dynest),
    "film_unet": (FilmUnetConfig, FilmUnet),
    "hcqt_hppnet": (HcqtHppnetConfig, HcqtHppnet),
    "hppnet": (HppnetConfig, Hppnet),
    "hpt": (HptConfig, Hpt),
    "metre": (MetreConfig, Metre),
    "onsets_and_frames": (OnsetsAndFramesConfig, OnsetsAndFrames),
    "onsets_velocities": (OnsetsVelocitiesConfig, OnsetsVelocities),
    "score_informed": (ScoreInformedConfig, ScoreInformed),
    "score_swift": (ScoreSwiftConfig, ScoreSwift),
    "swift": (SwiftConfig, Swift),
    "transkun": (TranskunConfig, Transkun),
}
