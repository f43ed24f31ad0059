"""Networks that can hear live, one file each. A new one is added to ``LIVE_NETWORKS``.

``live_network.LiveNetwork`` says what each of them offers; ``amtcli.live`` uses them.
"""

from __future__ import annotations

from amtcli.live_networks.autoregressive import LiveAutoregressive
from amtcli.live_networks.live_network import LiveNetwork
from amtcli.live_networks.swift import LiveSwift
from amtcli.networks.autoregressive import Autoregressive
from amtcli.networks.network import Network
from amtcli.networks.swift import Swift

LIVE_NETWORKS: dict[type[Network], type[LiveNetwork]] = {
    Autoregressive: LiveAutoregressive,
    Swift: LiveSwift,
}
