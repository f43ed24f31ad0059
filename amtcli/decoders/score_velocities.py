"""One velocity for each note of a score, read off velocities per frame and key.

The network says for every frame and key how hard that key was struck; which of its answers
count, the score says. Times are seconds, positions are counted in frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from amtcli.decoders.regression import VELOCITY_SCALE
from amtcli.errors import ModelError
from amtcli.notes import LOWEST_PITCH, N_KEYS, Note, Performance, sounding_ends_s
from amtcli.windows import WindowSpec

_LOWEST, _HIGHEST = 1.0, 127.0  # a velocity of 0 would be no note


@dataclass(frozen=True)
class ScoreNotes:
    """Notes of a score, one entry each, in any order; times in seconds.

    ``offset_s`` is key-up, ``sounding_end_s`` what the sustain pedal makes of it. ``pitch`` is a
    MIDI number, ``velocity`` what the score has, 1-127.
    """

    onset_s: NDArray[np.float64]
    offset_s: NDArray[np.float64]
    sounding_end_s: NDArray[np.float64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.pitch)

    @property
    def key(self) -> NDArray[np.int64]:
        """Keys counted from the lowest of 88; below 0 or above 87 for pitches off the keyboard."""
        return self.pitch - LOWEST_PITCH

    @property
    def on_keyboard(self) -> NDArray[np.bool_]:
        """Which of the notes have one of the 88 keys, (n,)."""
        return (self.key >= 0) & (self.key < N_KEYS)

    def select(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> ScoreNotes:
        """Keep the notes that a mask (n,) or a list of places chooses."""
        return ScoreNotes(
            self.onset_s[chosen],
            self.offset_s[chosen],
            self.sounding_end_s[chosen],
            self.pitch[chosen],
            self.velocity[chosen],
        )

    def within(self, start_s: float, duration_s: float) -> ScoreNotes:
        """Keep what sounds between ``start_s`` and ``duration_s`` later, ``start_s`` as time 0."""
        last_s = np.maximum(self.offset_s, self.sounding_end_s)
        kept = self.select((self.onset_s <= start_s + duration_s) & (last_s >= start_s))
        return ScoreNotes(
            kept.onset_s - start_s,
            kept.offset_s - start_s,
            kept.sounding_end_s - start_s,
            kept.pitch,
            kept.velocity,
        )

    def struck_within(self, start_s: float, duration_s: float) -> ScoreNotes:
        """Keep what is struck in that stretch, ``start_s`` as time 0."""
        heard = self.within(start_s, duration_s)
        return heard.select((heard.onset_s >= 0) & (heard.onset_s < duration_s))


def score_notes(performance: Performance) -> ScoreNotes:
    """Take the notes of a performance, in its order, with what its pedals make of their ends."""
    notes = performance.notes
    return ScoreNotes(
        np.array([note.onset_s for note in notes], np.float64),
        np.array([note.offset_s for note in notes], np.float64),
        np.array(sounding_ends_s(performance), np.float64),
        np.array([note.pitch for note in notes], np.int64),
        np.array([note.velocity for note in notes], np.int64),
    )


@dataclass(frozen=True)
class ScoreVelocitiesConfig:
    """The clock of the frames, and how a note's velocity is read.

    reading: "onset" takes the frame nearest to the note's onset, the one that networks are
        trained to be right in; "interpolated" lies on the line between the two frames around
        the onset, for networks whose answers change smoothly (those of a note editor do not:
        it edits the onset's own frame alone); "highest" takes the greatest value up to
        ``reach_frames`` away from the nearest frame, for scores whose onsets are off.
    reach_frames: of "highest".
    """

    sample_rate_hz: int
    hop_samples: int
    reading: Literal["onset", "interpolated", "highest"]
    reach_frames: int

    def __post_init__(self) -> None:
        if self.reach_frames < 0:
            raise ValueError("reach_frames cannot be negative")


def read_velocities(
    velocities: NDArray[np.float32],
    positions: NDArray[np.float64],
    keys: NDArray[np.int64],
    config: ScoreVelocitiesConfig,
) -> NDArray[np.float64]:
    """Read the velocities of notes at ``positions`` (n,), in frames, on ``keys`` (n,), 0-87.

    ``velocities`` is (frames, 88), at least one frame, in 0-1; the result (n,) is MIDI's, 1-127,
    not rounded. Positions beyond the first and last frame are read there.
    """
    table = velocities.astype(np.float64)
    last = len(table) - 1
    places = np.clip(positions, 0, last)
    nearest = np.rint(places).astype(np.int64)
    if config.reading == "interpolated":
        before = np.floor(places).astype(np.int64)
        share = places - before
        after = np.minimum(before + 1, last)
        values = (1 - share) * table[before, keys] + share * table[after, keys]
    elif config.reading == "highest":
        reach = np.arange(-config.reach_frames, config.reach_frames + 1)
        frames = np.clip(nearest[:, None] + reach, 0, last)
        values = table[frames, keys[:, None]].max(axis=1)
    else:
        values = table[nearest, keys]
    return np.clip(values * VELOCITY_SCALE, _LOWEST, _HIGHEST)


class ScoreVelocityDecoder:
    """Feed it the windows of one recording in order; each answers for the notes in its middle.

    The middles, each one hop long, follow one another without a gap. A note before the first or
    behind the last belongs to that window. ``notes`` are at the times when they are heard in the
    recording; ``velocities`` (n,) in their order holds what has been read, NaN for a note that
    no window answered: one in digital silence, one off the keyboard.

    Raises ModelError without notes: a model with this decoder transcribes nothing.
    """

    def __init__(
        self, config: ScoreVelocitiesConfig, window: WindowSpec, notes: ScoreNotes | None = None
    ) -> None:
        if notes is None:
            raise ModelError(
                "this model reads the velocities of a given score and finds no notes itself: "
                "use it with amt refine-velocity"
            )
        self._config = config
        self._window = window
        self._notes = notes
        self.velocities = np.full(len(notes), np.nan)
        self._onset_samples = notes.onset_s * config.sample_rate_hz
        margin = (window.length_samples - window.hop_samples) // 2
        into_first = self._onset_samples + window.padding_samples - margin
        self._owner = np.maximum(np.floor(into_first / window.hop_samples), 0)
        self._is_key = notes.on_keyboard
        self._n_windows = 0
        self._last: NDArray[np.float32] | None = None

    def feed(self, activations: NDArray[np.float32] | None) -> list[Note]:
        """Take the next window's velocities (frames, 88) (None: digital silence)."""
        index = self._n_windows
        self._n_windows += 1
        self._last = activations
        return self._answer(self._owner == index)

    def close(self) -> list[Note]:
        """End the recording: what begins later is read at the end of its last window."""
        return self._answer(self._owner >= max(self._n_windows, 1))

    def _answer(self, chosen: NDArray[np.bool_]) -> list[Note]:
        """Read the chosen notes off the window that came last; returns them as notes."""
        places = np.flatnonzero(chosen)
        heard = places[self._is_key[places]]
        if self._last is not None and len(heard):
            # Reckoned as `score_rolls` does: an onset between two frames is in the same one.
            rate_hz = self._config.sample_rate_hz
            start_s = self._window.start_samples(self._n_windows - 1) / rate_hz
            frame_s = self._config.hop_samples / rate_hz
            positions = (self._notes.onset_s[heard] - start_s) / frame_s
            keys = self._notes.key[heard]
            self.velocities[heard] = read_velocities(self._last, positions, keys, self._config)
        return [self._note(place) for place in places.tolist()]

    def _note(self, place: int) -> Note:
        """Make a note with its new velocity, or the score's where none was read."""
        notes, velocity = self._notes, self.velocities[place]
        return Note(
            float(notes.onset_s[place]),
            float(notes.offset_s[place]),
            int(notes.pitch[place]),
            int(notes.velocity[place]) if np.isnan(velocity) else round(float(velocity)),
        )
