"""Networks, one file each. A new one is added to ``ARCHITECTURES`` and nowhere else.

A network is an ``nn.Module`` with ``prepare(precision)``, called once before inference, and
``activations(features)``, which returns one item per window for the decoder.
"""

from __future__ import annotations

from typing import Any

from amtcli.networks.transkun import Transkun, TranskunConfig

ARCHITECTURES: dict[str, tuple[type[Any], type[Any]]] = {
    "transkun": (TranskunConfig, Transkun),
}
