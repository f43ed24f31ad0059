"""Live transcription: samples in as they are played, notes out as they are decided.

Only a network that looks a fixed, short time ahead can do it. What comes out is what the engine
makes of the same recording with the same model, but that velocities which are counted from the
recording's level (Swift's) are counted from the level so far. How each kind of network does it is
in ``amtcli.live_networks``; memory does not grow with the recording.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from amtcli.catalog import LIVE_MODEL
from amtcli.errors import UsageError
from amtcli.live_networks import LIVE_NETWORKS
from amtcli.live_networks.live_network import LiveEvent, LiveNetwork
from amtcli.model_folder import Model

LONGEST_LATENCY_S = 0.5  # what comes later is no longer live


def latency_s(model: Model) -> float | None:
    """Return the algorithmic latency of a model that can transcribe live, None for others."""
    found_s = _any_latency_s(model)
    return found_s if found_s is not None and found_s <= LONGEST_LATENCY_S else None


def check_live(model: Model) -> tuple[type[LiveNetwork], float]:
    """Return what lets a model hear live, and its algorithmic latency in seconds.

    Raises UsageError for a model that cannot. Its weights do not matter.
    """
    found_s = _any_latency_s(model)
    if found_s is None:
        raise UsageError(
            f"{model.model_id} cannot transcribe live, because it hears whole windows at once; "
            f"choose {LIVE_MODEL}"
        )
    if found_s > LONGEST_LATENCY_S:
        raise UsageError(
            f"{model.model_id} cannot transcribe live, because it knows a note only {found_s:.2f} "
            f"s after it begins; choose {LIVE_MODEL}"
        )
    return LIVE_NETWORKS[type(model.network)], found_s


def _any_latency_s(model: Model) -> float | None:
    kind = LIVE_NETWORKS.get(type(model.network))
    return None if kind is None else kind.latency_s(model)


class LiveTranscriber:
    """One live recording: feed it samples as they come, take the notes.

    ``sample_rate_hz`` is the rate that it wants samples at, ``hop_samples`` how many of them make
    a frame, ``latency_s`` its algorithmic latency. Raises UsageError for a model that cannot
    transcribe live.
    """

    def __init__(self, model: Model) -> None:
        kind, self.latency_s = check_live(model)
        self.sample_rate_hz = model.front_end.sample_rate_hz
        with torch.inference_mode():
            self._network = kind(model)
        self.hop_samples = self._network.hop_samples
        self._n_samples = 0

    @torch.inference_mode()
    def feed(self, samples: NDArray[np.float32]) -> list[LiveEvent]:
        """Take the next samples, (n,) or (channels, n), any number of them.

        Returns what has been decided since: a NoteOn for each note that begins, the whole Note
        once it has ended, and each PedalSpan once it has ended.
        """
        mono = samples.mean(axis=0) if samples.ndim == 2 else samples
        block = torch.from_numpy(np.asarray(mono, np.float32))
        self._n_samples += len(block)
        return self._network.push(block)

    @torch.inference_mode()
    def close(self) -> list[LiveEvent]:
        """End the recording: decide what its last samples are heard in, end what is open.

        What would begin in the silence behind it is left out.
        """
        end_s = self._n_samples / self.sample_rate_hz
        return [event for event in self._network.close(self._n_samples) if event.onset_s < end_s]
