"""Swift frame by frame: what its layers hear before and after a frame is carried over.

Fed piece by piece it answers what it answers of the whole, once the frames that it looks ahead
have come.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from amtcli.decoders.regression import RegressionActivations
from amtcli.networks.swift import HEADS, PEDAL_HEADS, PedalHead, Swift
from amtcli.networks.swift_convolution import Convolution
from amtcli.networks.swift_layers import Block, KeyMix, flat_keys, unflat_keys


class SwiftStream:
    """A network made ready, fed frame by frame; before the first frame there is silence.

    Call it in inference mode. Silence is what front-ends make 0 of.
    """

    def __init__(self, network: Swift) -> None:
        self._network = network
        self._bins = _Layer(network.bins)
        self._semitones = _Layer(network.semitones)
        self._near = _BlockStream(network.near)
        self._mix = _MixStream(network.mix)
        self._blocks = [_BlockStream(block) for block in network.blocks]  # type: ignore[arg-type]
        self._pedal = _PedalStream(network.pedal)
        self._keys = _Delay(self._pedal.delay_frames)
        self._levels = _Delay(network.lookahead_frames)
        layers = [module for module in network.modules() if isinstance(module, Convolution)]
        n_heard = sum(layer.behind_frames + layer.ahead_frames for layer in layers)
        self.push(network.bin_offset.new_zeros(n_heard, *network.bin_offset.shape))

    def push(self, features: Tensor) -> RegressionActivations:
        """Take the next frames (n, bins, spectra), n > 0; return as many.

        The last of them belongs to the frame ``lookahead_frames`` before the last one taken.
        """
        network = self._network
        x = self._semitones.push(self._bins.push(network.as_image(features[None])))
        x = self._mix.push(self._near.push(network.partials(x)))
        for number, block in enumerate(self._blocks):
            x = network.exchanged(number, block.push(x))
        keys = torch.sigmoid(self._keys.push(network.key_logits(x)))
        pedals = torch.sigmoid(self._pedal.push(x))
        parts = dict(zip(HEADS, keys[0], strict=True))
        parts |= dict(zip(PEDAL_HEADS, pedals[0, :, :, None], strict=True))
        parts["level"] = self._levels.push(network.levels(features[None])[:, None])[0, 0]
        return RegressionActivations(
            **{name: np.ascontiguousarray(part.numpy()) for name, part in parts.items()}
        )


class _Delay:
    """Holds frames back until what is computed from those after them is there."""

    def __init__(self, n_frames: int) -> None:
        self._n_frames = n_frames
        self._held: Tensor | None = None

    def push(self, x: Tensor) -> Tensor:
        """Take the next frames (B, C, T, F), return as many earlier ones; zeros at first."""
        if self._held is None:
            self._held = x.new_zeros(*x.shape[:2], self._n_frames, x.shape[3])
        x = torch.cat([self._held, x], dim=2)
        self._held = x[:, :, x.shape[2] - self._n_frames :]
        return x[:, :, : x.shape[2] - self._n_frames]


class _Layer:
    """One convolution, and the frames that it reaches back to."""

    def __init__(self, layer: Convolution) -> None:
        self._layer = layer
        self._tail: Tensor | None = None
        self.delay_frames = layer.ahead_frames
        self._around = _Delay(layer.ahead_frames)

    def push(self, x: Tensor, *, around: Tensor | None = None) -> Tensor:
        """Take the next frames, also of what goes around the layer; return as many."""
        reach = self._layer.behind_frames + self._layer.ahead_frames
        if self._tail is None:
            self._tail = x.new_zeros(*x.shape[:2], reach, x.shape[3])
        x = torch.cat([self._tail, x], dim=2)
        self._tail = x[:, :, x.shape[2] - reach :]
        return self._layer.unpadded(x, None if around is None else self._around.push(around))


class _BlockStream:
    def __init__(self, block: Block) -> None:
        self._block = block
        self._spread = _Layer(block.spread)
        self._around = _Delay(self._spread.delay_frames)

    def push(self, x: Tensor) -> Tensor:
        result: Tensor = self._block.merge(self._spread.push(x), around=self._around.push(x))
        return result


class _MixStream:
    def __init__(self, mix: KeyMix) -> None:
        self._mix = mix
        self._smooth = _Layer(mix.smooth)
        self._around = _Delay(self._smooth.delay_frames)

    def push(self, x: Tensor) -> Tensor:
        mix = self._mix
        hidden = self._smooth.push(mix.gather(flat_keys(mix.narrow(x))))
        keys = unflat_keys(mix.spread(hidden))
        result: Tensor = mix.widen(keys, around=self._around.push(x))
        return result


class _PedalStream:
    def __init__(self, head: PedalHead) -> None:
        self._head = head
        self._times = [_Layer(layer) for layer in head.times]  # type: ignore[arg-type]
        self.delay_frames = sum(layer.delay_frames for layer in self._times)

    def push(self, x: Tensor) -> Tensor:
        hidden = self._head.gather(flat_keys(self._head.narrow(x)))
        for layer in self._times:
            hidden = layer.push(hidden, around=hidden)
        return self._head.logits(hidden)
