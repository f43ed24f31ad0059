"""What follows from a model's settings and is not written in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from amtcli.live import latency_s
from amtcli.model_config import read_config
from amtcli.model_folder import outline_model


@dataclass(frozen=True)
class ModelFacts:
    """Sizes and times of a model.

    n_parameters: trained numbers in front-end and network.
    window_s, hop_s: how much it hears at once, and how far its windows are apart.
    live_latency_s: algorithmic latency, None for a model that cannot transcribe live.
    """

    n_parameters: int
    window_s: float
    hop_s: float
    live_latency_s: float | None


def model_facts(folder: Path) -> ModelFacts:
    """Work out the facts of the model in a folder, whether or not its weights are there.

    Raises ModelError when ``model.toml`` cannot be read, or says what cannot be built.
    """
    config = read_config(folder)
    model = outline_model(config, folder)
    modules = (model.front_end, model.network)
    rate_hz = config.front_end["sample_rate_hz"]
    return ModelFacts(
        n_parameters=sum(p.numel() for module in modules for p in module.parameters()),
        window_s=round(config.window.length_samples / rate_hz, 6),
        hop_s=round(config.window.hop_samples / rate_hz, 6),
        live_latency_s=latency_s(model),
    )
