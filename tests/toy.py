"""A model that can be checked on paper: it hears one note per sample that is exactly 1.

Windows are 100 samples at 100 Hz, 60 apart, with 20 zeros of padding. The front-end hands
samples on, the network says where the ones are, and the decoder answers for the middle 60
samples of each window, so that every sample belongs to exactly one window.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from amtcli import decoders
from amtcli.front_ends.front_end import FrontEnd
from amtcli.model_config import ModelConfig, Precision, Provenance, StoredWeights
from amtcli.model_folder import Model
from amtcli.networks.network import Network
from amtcli.notes import Note
from amtcli.windows import FastWindow, WindowConfig

RATE_HZ = 1000
WINDOW = WindowConfig(100, 60, 20, FastWindow(100, 0))


class ToyFrontEnd(FrontEnd):
    sample_rate_hz = RATE_HZ
    mono = True

    def forward(self, windows):
        return torch.stack([window.mean(dim=0) for window in windows])


class ToyNetwork(Network):
    """Keeps the sizes of the batches that it was given; fails above ``memory`` windows."""

    def __init__(self, memory=1000):
        super().__init__()
        self.memory = memory
        self.batch_sizes = []

    def prepare(self, precision):
        self.precision = precision

    def activations(self, features):
        if len(features) > self.memory:
            raise torch.cuda.OutOfMemoryError("out of memory")
        self.batch_sizes.append(len(features))
        return [np.flatnonzero(row == 1) for row in features.numpy()]


@dataclass(frozen=True)
class ToyDecoderConfig:
    pitch: int


class ToyDecoder:
    def __init__(self, config, window):
        self.pitch = config.pitch
        self.window = window
        self.n_fed = 0

    def feed(self, activations):
        start = self.window.start_samples(self.n_fed)
        self.n_fed += 1
        first = self.window.padding_samples
        own = range(first, first + self.window.hop_samples)
        ones = [start + int(i) for i in (() if activations is None else activations) if i in own]
        return [Note(s / RATE_HZ, (s + 1) / RATE_HZ, self.pitch, 64) for s in ones]

    def close(self):
        return [Note(0.0, float(self.n_fed), 127, 1)]  # how many windows it saw


def toy_model(monkeypatch, memory=1000):
    monkeypatch.setitem(decoders.DECODERS, "toy", (ToyDecoderConfig, ToyDecoder))
    config = ModelConfig(
        format=1,
        network={"architecture": "toy"},
        front_end={"kind": "toy", "sample_rate_hz": RATE_HZ},
        window=WINDOW,
        decoder={"kind": "toy", "pitch": 60},
        precision=Precision(auto_bf16=False, auto_int8=False),
        weights=StoredWeights("weights.safetensors", "0" * 64, "float32"),
        provenance=Provenance("toy", "1", "a toy", "none", "none", 0, 0, {}, "MIT"),
    )
    return Model(config, Path("toy"), ToyFrontEnd(), ToyNetwork(memory))
