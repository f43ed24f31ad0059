"""Networks, one file each. A new one is added to ``ARCHITECTURES`` and nowhere else.

``network.Network`` says what each of them offers.
"""

from __future__ import annotations

from typing import Any

from amtcli.networks.network import Network
from amtcli.networks.transkun import Transkun, TranskunConfig

ARCHITECTURES: dict[str, tuple[type[Any], type[Network]]] = {
    "transkun": (TranskunConfig, Transkun),
}
