"""Frames to notes: each clause of the rule on paper, seams, and mir_eval on ideal activations."""

from dataclasses import replace

import mir_eval
import numpy as np
import pytest

from amtcli.decoders.frames import (
    FrameActivations,
    FramesConfig,
    FramesDecoder,
    decode_frames,
)
from amtcli.windows import WindowSpec

RATE_HZ, HOP = 1000, 100  # frames of 0.1 s
KEY = 39  # C4, MIDI 60
PLAIN = FramesConfig(
    sample_rate_hz=RATE_HZ,
    hop_samples=HOP,
    onset_threshold=0.5,
    onset_peaks=False,
    confirmation_threshold=0.0,
    frame_threshold=0.5,
    offset_threshold=0.5,
    held_threshold=0.0,
    shortest_frames=1,
    velocity_scale=128,
)


def activations(onset, frame, offset=(), velocity=()):
    """One key's values, one per frame; what is missing is 0."""
    heads = np.zeros((4, len(onset), 88), np.float32)
    for head, values in zip(heads, (onset, frame, offset, velocity), strict=True):
        head[: len(values), KEY] = values
    return FrameActivations(*heads)


def spans(notes):
    return [(round(n.onset_s, 6), round(n.offset_s, 6)) for n in notes]


def decoded(config, *heads):
    return spans(decode_frames(activations(*heads), config))


def test_a_note_has_the_values_of_its_onset():
    heads = ([0, 0.9, 0.6, 0, 0], [0, 0.2, 1, 1, 0], [], [0.9, 0.5, 0.25, 0.9, 0.9])
    (note,) = decode_frames(activations(*heads), PLAIN)
    assert (note.onset_s, note.offset_s) == (0.1, 0.4)
    assert note.pitch == 60
    assert note.velocity == 48  # mean of 0.5 and 0.25, times 128
    assert note.confidence == pytest.approx(0.9, abs=1e-6)


@pytest.mark.parametrize("velocity, expected", [(0.0, 1), (0.001, 1), (1.0, 127)])
def test_velocities_stay_within_midi(velocity, expected):
    (note,) = decode_frames(activations([1, 0], [1, 0], [], [velocity, 0]), PLAIN)
    assert note.velocity == expected


def test_an_onset_without_frames_lasts_while_the_onset_does():
    assert decoded(PLAIN, [0, 1, 1, 0, 0], [0] * 5) == [(0.1, 0.3)]


def test_frames_without_an_onset_are_no_note():
    assert decoded(PLAIN, [0, 0.4, 0], [1, 1, 1]) == []


def test_values_that_equal_their_thresholds_reach_them():
    assert decoded(PLAIN, [0.5, 0, 0], [0, 0.5, 0]) == [(0.0, 0.2)]


def test_a_key_struck_again_ends_the_note_before():
    assert decoded(PLAIN, [1, 0, 0, 1, 0, 0], [1] * 6) == [(0.0, 0.3), (0.3, 0.6)]


def test_what_is_open_at_the_end_ends_there():
    assert decoded(PLAIN, [0, 0, 1], [0, 0, 1]) == [(0.2, 0.3)]


def test_only_peaks_are_onsets_where_peaks_are_asked_for():
    onset, frame = [0.6, 0.7, 0.9, 0.8, 0.55, 0.7], [1] * 6
    assert decoded(PLAIN, onset, frame) == [(0.0, 0.6)]
    assert decoded(replace(PLAIN, onset_peaks=True), onset, frame) == [(0.2, 0.5), (0.5, 0.6)]


def test_a_flat_peak_is_one_onset():
    peaks = replace(PLAIN, onset_peaks=True)
    assert decoded(peaks, [0, 0.8, 0.8, 0, 0], [0, 1, 1, 1, 0]) == [(0.1, 0.4)]


def test_the_frame_after_an_onset_confirms_it():
    config = replace(PLAIN, confirmation_threshold=0.3)
    assert decoded(config, [0, 1, 0, 0, 1, 0], [0, 1, 0.2, 0, 1, 0.4]) == [(0.4, 0.5)]
    assert decoded(config, [0, 0, 1], [0, 0, 1]) == [(0.2, 0.3)]  # nothing follows it


def test_an_offset_ends_a_note_unless_its_frame_is_sure():
    config = replace(PLAIN, held_threshold=0.85)
    heads = ([1, 0, 0, 0, 0], [1, 0.9, 0.8, 0.8, 0.8], [0, 0.9, 0.4, 0.6, 0])
    assert decoded(config, *heads) == [(0.0, 0.3)]
    assert decoded(PLAIN, *heads) == [(0.0, 0.5)]  # 0: the offset head is left out


def test_short_notes_are_held_unless_struck_again():
    config = replace(PLAIN, shortest_frames=3)
    assert decoded(config, [1, 0, 0, 0, 0], [0, 0, 0, 1, 1]) == [(0.0, 0.3)]
    assert decoded(config, [1, 0, 1, 0, 0, 0], [0] * 6) == [(0.0, 0.2), (0.2, 0.5)]
    assert decoded(config, [0, 0, 1], [0, 0, 0]) == [(0.2, 0.3)]


def random_activations(n_frames, seed=0):
    """Smooth random curves, so that runs of several frames occur above every threshold."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(4, n_frames + 4, 88))
    smooth = sum(noise[:, i : i + n_frames] for i in range(5)) / 5**0.5
    return FrameActivations(*(1 / (1 + np.exp(-3 * smooth))).astype(np.float32))


@pytest.mark.parametrize("hop_frames, margin_frames", [(1, 0), (7, 0), (10, 5), (300, 20)])
def test_how_the_recording_is_cut_does_not_matter(hop_frames, margin_frames):
    config = replace(
        PLAIN, onset_peaks=True, confirmation_threshold=0.3, held_threshold=0.8, shortest_frames=3
    )
    n_frames = 210
    whole = random_activations(n_frames)
    heads = [whole.onset, whole.frame, whole.offset, whole.velocity]
    padded = [np.pad(h, ((margin_frames, hop_frames + margin_frames), (0, 0))) for h in heads]
    length = hop_frames + 2 * margin_frames
    spec = WindowSpec(length * HOP, hop_frames * HOP, margin_frames * HOP)
    decoder = FramesDecoder(config, spec)
    notes = []
    for start in range(0, n_frames, hop_frames):
        notes += decoder.feed(FrameActivations(*(h[start : start + length] for h in padded)))
    n_done = -(-n_frames // hop_frames) * hop_frames  # the last window is filled up with zeros
    filled = [np.pad(h, ((0, n_done - n_frames), (0, 0))) for h in heads]
    expected = decode_frames(FrameActivations(*filled), config)
    assert len(expected) > 500
    assert [*notes, *decoder.close()] == expected


def test_silent_windows_end_notes_and_keep_the_clock():
    spec = WindowSpec(length_samples=4 * HOP, hop_samples=4 * HOP, padding_samples=0)
    decoder = FramesDecoder(PLAIN, spec)
    assert decoder.feed(activations([0, 0, 0, 1], [0, 0, 0, 1])) == []
    assert spans(decoder.feed(None)) == [(0.3, 0.4)]
    decoder.feed(activations([0, 1, 0, 0], [0, 1, 1, 0]))
    assert spans(decoder.close()) == [(0.9, 1.1)]


def test_ideal_activations_decode_to_the_notes_they_were_made_of():
    rng = np.random.default_rng(4)
    heads = np.zeros((4, 1000, 88), np.float32)
    reference = []
    for key in range(88):
        starts = np.sort(rng.choice(np.arange(0, 990, 5), 12, replace=False))
        ends = np.minimum(starts + rng.integers(2, 90, 12), np.append(starts[1:], 1000))
        for start, end in zip(starts, ends, strict=True):
            velocity = int(rng.integers(1, 128))
            heads[0, start, key] = 1
            heads[1, start:end, key] = 1
            heads[3, start:end, key] = velocity / 128
            reference.append((start * 0.1, end * 0.1, 21 + key, velocity))
    notes = decode_frames(FrameActivations(*heads), replace(PLAIN, onset_peaks=True))
    found = [(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in notes]

    def columns(rows):
        onset, offset, pitch, velocity = np.array(sorted(rows)).T
        return np.stack([onset, offset], axis=1), mir_eval.util.midi_to_hz(pitch), velocity

    scores = mir_eval.transcription_velocity.precision_recall_f1_overlap(
        *columns(reference), *columns(found), onset_tolerance=0.01, offset_ratio=0.001
    )
    assert scores[:3] == (1.0, 1.0, 1.0)
