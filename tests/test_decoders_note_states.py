"""The rule on cases that can be checked on paper, and labels made from notes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from amtcli.decoders.note_states import (
    OFF,
    ONSET,
    SUSTAIN,
    NoteOn,
    NoteStates,
    NoteStatesConfig,
    NoteStatesDecoder,
    NoteTracker,
    decode_note_states,
)
from amtcli.notes import Note
from amtcli.windows import WindowSpec

CONFIG = NoteStatesConfig(
    sample_rate_hz=100, hop_samples=10, label_shift_frames=0, onset_boost=1.0, velocity=70
)  # frames of 0.1 s
MIDDLE_C = 60 - 21
PARITY = Path(__file__).parent / "data" / "parity" / "autoregressive.npz"


def decided(text, key=MIDDLE_C):
    """States of one key, a digit per frame; the frame's number is its onset probability in %."""
    states = np.zeros((len(text), 88), int)
    states[:, key] = [int(digit) for digit in text]
    probability = np.arange(len(text), dtype=np.float32) / 100
    return NoteStates(states, np.repeat(probability[:, None], 88, axis=1))


def spans(notes):
    return [(round(note.onset_s, 6), round(note.offset_s, 6)) for note in notes]


def test_a_note_lasts_from_its_onset_to_its_release():
    assert decode_note_states(decided("003222100"), CONFIG) == [Note(0.2, 0.6, 60, 70, 0.02)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0320", [(0.1, 0.3)]),  # off without the state of release
        ("0300", [(0.1, 0.2)]),  # one frame long
        ("0322422100", [(0.1, 0.4), (0.4, 0.7)]),  # a re-onset ends one and begins another
        ("0400", [(0.1, 0.2)]),  # a re-onset of what has not sounded
        ("033420", [(0.1, 0.5)]),  # onset frames in a row are one onset
        ("0232", [(0.2, 0.4)]),  # sustain without an onset is no note; the end ends what is open
        ("03103", [(0.1, 0.2), (0.4, 0.5)]),
        ("0000", []),
    ],
)
def test_states_of_one_key(text, expected):
    assert spans(decode_note_states(decided(text), CONFIG)) == expected


def test_shifted_labels_put_everything_later():
    shifted = NoteStatesConfig(100, 10, 2, 1.0, 70)
    assert spans(decode_note_states(decided("03210"), shifted)) == [(0.3, 0.5)]


def test_events_come_in_the_frame_that_decides_them():
    tracker = NoteTracker(CONFIG)
    whole = decided("03241")
    events = [
        tracker.push(NoteStates(whole.states[i : i + 1], whole.onset_probability[i : i + 1]))
        for i in range(5)
    ]
    first, second = Note(0.1, 0.3, 60, 70, 0.01), Note(0.3, 0.4, 60, 70, 0.03)
    ons = [NoteOn(note.onset_s, 60, 70, note.confidence) for note in (first, second)]
    assert [[round_times(e) for e in frame] for frame in events] == [
        [], [ons[0]], [], [first, ons[1]], [second],
    ]  # fmt: skip


def round_times(event):
    if isinstance(event, NoteOn):
        return NoteOn(round(event.onset_s, 6), event.pitch, event.velocity, event.confidence)
    times = round(event.onset_s, 6), round(event.offset_s, 6)
    return Note(*times, event.pitch, event.velocity, event.confidence)


def test_notes_are_the_authors_but_do_not_overlap():
    stored = np.load(PARITY)
    states = np.random.RandomState(2).choice(5, (80, 88), p=[0.25, 0.1, 0.45, 0.1, 0.1])
    ours = decode_note_states(NoteStates(states, np.zeros((80, 88), np.float32)), CONFIG)
    theirs = sorted(
        (int(key), int(on), int(off))
        for key, (on, off) in zip(stored["note_keys"], stored["note_frames"], strict=True)
    )
    following = {theirs[i]: theirs[i + 1] for i in range(len(theirs) - 1)}
    expected = [
        (key, on, min(off, following[key, on, off][1]))
        if following.get((key, on, off), (-1,))[0] == key
        else (key, on, off)
        for key, on, off in theirs
    ]
    assert len(expected) > 1000
    assert expected != theirs  # some do overlap
    assert sorted((n.pitch - 21, round(n.onset_s * 10), round(n.offset_s * 10)) for n in ours) == (
        expected
    )


class Cut:
    """Windows of states that are known, which remember how many frames came before."""

    def __init__(self, whole):
        self.whole = whole

    def decide(self, own, memory, onset_boost):
        n_before = memory or 0
        part = slice(n_before, n_before + own.stop - own.start)
        return NoteStates(self.whole.states[part], self.whole.onset_probability[part]), part.stop


@pytest.mark.parametrize("hop_frames", [2, 3, 12])
def test_windows_of_any_hop_give_the_notes_of_the_whole(hop_frames):
    whole = decided("032241003221")
    spec = WindowSpec((hop_frames + 2) * 10, hop_frames * 10, 10)
    decoder = NoteStatesDecoder(CONFIG, spec)
    windows = [Cut(whole)] * (12 // hop_frames)
    notes = [note for window in windows for note in decoder.feed(window)] + decoder.close()
    assert spans(notes) == spans(decode_note_states(whole, CONFIG))


class Shifted:
    """A window of states, of which frame n tells those of frame n + 2; before them all is off."""

    def __init__(self, states, first):
        self.states, self.first = states, first

    def decide(self, own, memory, onset_boost):
        frames = self.first + 2 + np.arange(own.start, own.stop)
        states = np.where(frames[:, None] < 0, OFF, self.states[np.maximum(frames, 0)])
        return NoteStates(states, np.ones(states.shape, np.float32)), None


def test_shifted_labels_tell_of_what_begins_at_once():
    states = np.full((60, 88), OFF)
    for key, (onset, end) in enumerate([(0, 9), (1, 9), (2, 9), (25, 28)]):
        states[onset, key], states[onset + 1 : end, key] = ONSET, SUSTAIN
    spec = WindowSpec(length_samples=300, hop_samples=200, padding_samples=50)
    decoder = NoteStatesDecoder(replace(CONFIG, label_shift_frames=2), spec)
    notes = [n for start in (-5, 15) for n in decoder.feed(Shifted(states, start))]
    assert spans(notes + decoder.close()) == [(0.0, 0.9), (0.1, 0.9), (0.2, 0.9), (2.5, 2.8)]


def test_a_silent_window_ends_notes_and_forgets():
    spec = WindowSpec(60, 40, 10)
    decoder = NoteStatesDecoder(CONFIG, spec)
    assert decoder.feed(Cut(decided("0322"))) == []
    assert spans(decoder.feed(None)) == [(0.1, 0.4)]
    # The next window starts from no memory, at 0.8 s.
    assert spans([*decoder.feed(Cut(decided("0310"))), *decoder.close()]) == [(0.9, 1.0)]


def test_labels_made_from_notes_are_decoded_to_the_same_notes():
    import mir_eval

    random = np.random.default_rng(0)
    states = np.zeros((400, 88), int)
    reference = []
    for key in range(88):
        frame = int(random.integers(0, 20))
        while frame < 380:
            end = min(frame + int(random.integers(2, 40)), 399)
            is_held = frame > 0 and states[frame - 1, key] >= 2
            states[frame, key] = 4 if is_held else 3
            states[frame + 1 : end, key] = 2
            states[end, key] = 1
            reference.append((key, frame * 0.032, end * 0.032))
            frame = end + int(random.integers(0, 3))  # 0: struck again while it sounds
    assert (states == 4).sum() > 200
    config = NoteStatesConfig(16000, 512, 0, 1.0, 64)
    notes = decode_note_states(NoteStates(states, np.ones((400, 88), np.float32)), config)
    scores = mir_eval.transcription.precision_recall_f1_overlap(
        np.array([r[1:] for r in reference]),
        mir_eval.util.midi_to_hz(np.array([r[0] + 21 for r in reference])),
        np.array([(n.onset_s, n.offset_s) for n in notes]),
        mir_eval.util.midi_to_hz(np.array([n.pitch for n in notes])),
    )
    assert scores[:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((100, 10, -1, 1.0, 64), "label_shift_frames is -1"),
        ((100, 10, 0, 0.0, 64), "onset_boost is 0.0"),
        ((100, 10, 0, 1.0, 128), "velocity is 128"),
    ],
)
def test_impossible_settings_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        NoteStatesConfig(*values)
