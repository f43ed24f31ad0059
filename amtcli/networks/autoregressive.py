"""The multi-state autoregressive network: every key is in one of five states in every frame.

Taegyun Kwon, Dasaem Jeong and Juhan Nam, "Polyphonic Piano Transcription Using Autoregressive
Multi-State Note Model" (ISMIR 2020): convolutions hear a few frames, a unidirectional LSTM is
told what it heard and in which states it left all keys in the frame before. Lower latency by
narrower kernels and shifted labels: Jeong's "low-latency-amt".

It looks ``lookahead_frames`` ahead and remembers everything before, so frames are decided in
order by ``StateFrames.decide``, which the decoder calls with the memory of the window before:
however a recording is cut, or when it comes live, the states are the same. Shapes: B windows, T
frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from amtcli.decoders.note_states import N_STATES, OFF, ONSET, NoteStates
from amtcli.networks.conv_stack import ConvStack
from amtcli.networks.network import Network
from amtcli.notes import N_KEYS

EMBEDDING_WIDTH = 2
N_LAYERS = 2


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Sizes of the network.

    conv_complexity, lstm_complexity: a sixteenth of the width of the convolutions' output and of
        the LSTM (48 and 48 in the published network, 48 and 16 in its small one).
    time_kernels: width in frames of each convolution, 3 or 1; each 3 looks one frame ahead.
    """

    n_mels: int
    conv_complexity: int
    lstm_complexity: int
    time_kernels: tuple[int, int, int]

    def __post_init__(self) -> None:
        if not set(self.time_kernels) <= {1, 3}:
            raise ValueError(f"time_kernels must each be 1 or 3, not {self.time_kernels}")


@dataclass(frozen=True)
class Memory:
    """What one frame leaves to the next: each LSTM layer's vectors (width,), all states (88,)."""

    hidden: tuple[Tensor, Tensor]
    cell: tuple[Tensor, Tensor]
    states: Tensor


class LanguageModel(nn.Module):
    """Acoustic vectors (B, T, n_in) and the states of the frame before to logits of states."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        self.n_in = n_in
        self.embedding = nn.Embedding(N_STATES, EMBEDDING_WIDTH)
        self.lstm = nn.LSTM(n_in + EMBEDDING_WIDTH * N_KEYS, width, N_LAYERS, batch_first=True)
        self.output = nn.Linear(width, N_KEYS * N_STATES)

    def forward(self, acoustic: Tensor, states_before: Tensor) -> Tensor:
        """Compute logits (B, T, 88, 5), being told the states (B, T, 88) before each frame."""
        context = self.embedding(states_before).flatten(2)
        hidden, _ = self.lstm(torch.cat([acoustic, context], dim=-1))
        logits: Tensor = self.output(hidden).unflatten(-1, (N_KEYS, N_STATES))
        return logits

    def drive(self, acoustic: Tensor) -> Tensor:
        """Compute the part of the first layer's gates that no state enters: (..., 4 width)."""
        from_input, _, *biases = self.lstm.all_weights[0]
        return F.linear(acoustic, from_input[:, : self.n_in], biases[0] + biases[1])

    def start(self) -> Memory:
        """Return the memory before the first frame: nothing heard, all keys off."""
        zeros = self.output.weight.new_zeros(self.output.in_features)
        off = torch.full((N_KEYS,), OFF, device=zeros.device)
        return Memory((zeros, zeros), (zeros, zeros), off)

    def step(self, drive: Tensor, memory: Memory, boost: Tensor) -> tuple[Tensor, Memory]:
        """Decide one frame, greedily: drive (4 width,) to logits (88, 5) and the next memory.

        ``boost`` (5,) is added to the logits for the decision alone. Matrix by vector, because
        PyTorch's LSTM takes four times as long for single frames.
        """
        (input0, recurrent0, *_), (input1, recurrent1, *biases) = self.lstm.all_weights
        context = self.embedding(memory.states).flatten()
        gates = torch.addmv(drive, input0[:, self.n_in :], context)
        gates = torch.addmv(gates, recurrent0, memory.hidden[0])
        hidden0, cell0 = _cell(gates, memory.cell[0])
        gates = torch.addmv(biases[0] + biases[1], input1, hidden0)
        gates = torch.addmv(gates, recurrent1, memory.hidden[1])
        hidden1, cell1 = _cell(gates, memory.cell[1])
        logits = torch.addmv(self.output.bias, self.output.weight, hidden1)
        logits = logits.view(N_KEYS, N_STATES)
        states = (logits + boost).argmax(dim=-1)
        return logits, Memory((hidden0, hidden1), (cell0, cell1), states)


def _cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Finish one LSTM layer: gates (4 width,) in PyTorch's order, and the cell, to new ones."""
    take, keep, new, show = gates.chunk(4)
    cell = torch.sigmoid(keep) * cell + torch.sigmoid(take) * torch.tanh(new)
    return torch.sigmoid(show) * torch.tanh(cell), cell


@dataclass(frozen=True)
class StateFrames:
    """The frames of one window, heard but not yet decided.

    ``drive`` is (T, 4 width) in main memory. ``silent`` (T,) marks frames in whose reach there
    is nothing but digital silence: all keys are off there and what follows starts anew, as a
    training segment does, so that silence need not be computed and live equals offline.
    """

    language: LanguageModel
    drive: Tensor
    silent: NDArray[np.bool_]

    @torch.inference_mode()
    def decide(
        self, own: slice, memory: Memory | None, onset_boost: float
    ) -> tuple[NoteStates, Memory | None]:
        """Decide the frames ``own`` one by one; a memory of None is the start.

        ``onset_boost`` multiplies the probabilities of both onset states for the decision.
        """
        drive, silent = self.drive[own].to(self.language.output.weight.device), self.silent[own]
        boost = drive.new_zeros(N_STATES)
        boost[ONSET:] = float(np.log(onset_boost))
        logits = drive.new_zeros(len(drive), N_KEYS, N_STATES)
        states = torch.full(logits.shape[:2], OFF, device=drive.device)
        for frame in range(len(drive)):
            if silent[frame]:
                memory = None
                continue
            before = memory or self.language.start()
            logits[frame], memory = self.language.step(drive[frame], before, boost)
            states[frame] = memory.states
        onset_probability = logits.softmax(dim=-1)[..., ONSET:].sum(dim=-1).cpu().numpy()
        onset_probability[silent] = 0
        return NoteStates(states.cpu().numpy(), onset_probability), memory


class Autoregressive(Network):
    """Log-mel features (B, T, n_mels) to the state of every key in every frame."""

    def __init__(self, config: AutoregressiveConfig) -> None:
        super().__init__()
        self.config = config
        self.acoustic = ConvStack(config.n_mels, config.conv_complexity, config.time_kernels)
        self.language = LanguageModel(16 * config.conv_complexity, 16 * config.lstm_complexity)

    @property
    def lookahead_frames(self) -> int:
        """How many frames after its own must be heard before a frame is decided."""
        return self.acoustic.lookahead_frames

    @property
    def precisions(self) -> tuple[str, ...]:
        """Nothing but float32 (see `prepare`)."""
        return ("float32",)

    def prepare(self, precision: str) -> None:
        """Do nothing: it stays in float32, since a state that rounding tips is fed back."""

    def forward(self, features: Tensor, states: Tensor) -> Tensor:
        """Compute logits (B, T, 88, 5), being told the true ``states`` (B, T, 88) as it goes."""
        before = F.pad(states[:, :-1], (0, 0, 1, 0), value=OFF)
        logits: Tensor = self.language(self.acoustic(features), before)
        return logits

    def activations(self, features: Tensor) -> list[StateFrames]:
        """Hear whole windows; their states are decided by the decoder, in order."""
        drive = self.language.drive(self.acoustic(features)).cpu()
        silent = self._silent(features).cpu().numpy()
        return [StateFrames(self.language, *item) for item in zip(drive, silent, strict=True)]

    def _silent(self, features: Tensor) -> Tensor:
        """Say of each frame of whole windows whether it can hear anything at all: (B, T)."""
        ahead = self.lookahead_frames
        sounds = F.pad(~is_digital_silence(features), (ahead, ahead))
        return ~sounds.unfold(1, 2 * ahead + 1, 1).any(dim=-1)


def is_digital_silence(features: Tensor) -> Tensor:
    """Say of frames of log-mel features (..., n_mels) whether all bands lie on the floor: (...).

    They are all alike then, and only then: filters of different widths hear nothing equally.
    """
    # The margin is for logarithms that round differently with their place in memory.
    return features.amax(dim=-1) - features.amin(dim=-1) < 1e-4
