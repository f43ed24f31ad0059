"""A model folder of a few numbers: a gain for a front-end, one linear map for a network."""

from dataclasses import dataclass

import torch
from torch import nn

from amtcli import decoders, front_ends, networks
from amtcli.model_config import ModelConfig, Precision, Provenance, StoredWeights
from amtcli.windows import FastWindow, WindowConfig

CONFIG = ModelConfig(
    format=1,
    network={"architecture": "toy-linear", "n_in": 3, "n_out": 2},
    front_end={"kind": "toy-gain", "sample_rate_hz": 8000},
    window=WindowConfig(100, 50, 25, FastWindow(80, 10)),
    decoder={"kind": "toy-threshold", "threshold": 0.5},
    precision=Precision(auto_bf16=False, auto_int8=False),
    weights=StoredWeights("weights.safetensors", "0" * 64, "float32"),
    provenance=Provenance(
        name="toy",
        version="1.2",
        description="a toy",
        data="none",
        protocol="by hand",
        seed="none",
        steps=3,
        scores={"onset_f1": 0.5},
        licence="MIT",
    ),
)
TENSORS = {
    "front_end.gain": torch.tensor([2.0]),
    "network.map.weight": torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    "network.map.bias": torch.tensor([7.0, 8.0]),
}


@dataclass(frozen=True)
class GainConfig:
    sample_rate_hz: int


class Gain(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(1))


@dataclass(frozen=True)
class LinearConfig:
    n_in: int
    n_out: int


class Linear(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.map = nn.Linear(config.n_in, config.n_out)
        self.dropout = nn.Dropout()


@dataclass(frozen=True)
class ThresholdConfig:
    threshold: float

    def __post_init__(self):
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold is {self.threshold}, not between 0 and 1")


class Threshold:
    def __init__(self, config, window):
        self.config = config
        self.window = window


def register(monkeypatch):
    monkeypatch.setitem(front_ends.FRONT_ENDS, "toy-gain", (GainConfig, Gain))
    monkeypatch.setitem(networks.ARCHITECTURES, "toy-linear", (LinearConfig, Linear))
    monkeypatch.setitem(decoders.DECODERS, "toy-threshold", (ThresholdConfig, Threshold))
