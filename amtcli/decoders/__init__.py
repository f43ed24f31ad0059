"""Decoders: activations to notes and pedal spans. A new one is added to ``DECODERS``.

A decoder is built for one recording, fed its windows in order, and gives out what is final.
"""

from __future__ import annotations

from typing import Any

from amtcli.decoders.semi_crf import SemiCrfConfig, SemiCrfDecoder

DECODERS: dict[str, tuple[type[Any], type[Any]]] = {
    "semi_crf": (SemiCrfConfig, SemiCrfDecoder),
}
