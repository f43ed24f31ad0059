"""What every kind of network that can hear live offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from amtcli.decoders.note_states import NoteOn
from amtcli.model_folder import Model
from amtcli.notes import Note, PedalSpan

LiveEvent = NoteOn | Note | PedalSpan


class LiveNetwork(ABC):
    """One live recording: samples in, what begins and ends in them out.

    It is made of a model for which ``latency_s`` is not None, and called in inference mode.
    What it gives is what the engine gives of the whole recording, as far as it is known yet.
    """

    hop_samples: int

    @staticmethod
    @abstractmethod
    def latency_s(model: Model) -> float | None:
        """How long after its onset a note is decided at the earliest, were computing instant.

        None where the model's front-end or decoder cannot work piece by piece with this kind of
        network. The model's weights do not matter.
        """

    @abstractmethod
    def __init__(self, model: Model) -> None: ...

    @abstractmethod
    def push(self, samples: Tensor) -> list[LiveEvent]:
        """Take the next samples (n,), n >= 0; return what has been decided since."""

    @abstractmethod
    def close(self, n_samples: int) -> list[LiveEvent]:
        """End a recording of ``n_samples`` in all: decide what is left, end what is open.

        What is heard to begin in the silence behind it may be among it.
        """
