"""The decoder against hand-made cases, its own targets, and the authors' program."""

from dataclasses import replace
from pathlib import Path

import mir_eval
import numpy as np
import pytest
from make_parity_onsets_velocities import random_maps
from smooth_maps import smooth_maps

from amtcli.checkpoints.onsets_velocities import DECODER
from amtcli.decoders.frame_stream import whole
from amtcli.decoders.onset_peaks import (
    OnsetActivations,
    OnsetPeaksDecoder,
    decode_onset_peaks,
    find_onsets,
)
from amtcli.windows import WindowSpec

FRAME_S = 0.024
THEIRS = Path(__file__).parent / "data" / "parity" / "onsets_velocities.npz"


def ideal(notes, n_frames):
    """What the network is trained to say: onset and velocity over three frames from the onset."""
    onset, velocity = np.zeros((2, n_frames, 88), np.float32)
    for onset_s, pitch, midi_velocity in notes:
        first = int(onset_s / FRAME_S)
        onset[first : first + 3, pitch - 21] = 1
        velocity[first : first + 3, pitch - 21] = midi_velocity / 127
    return OnsetActivations(onset, velocity)


def random_notes(n=300, seed=0):
    """Random notes, those of one key at least 0.2 s apart, as (onset_s, pitch, velocity)."""
    random = np.random.RandomState(seed)
    notes, free_s = [], dict.fromkeys(range(21, 109), 0.0)
    for _ in range(n):
        pitch = int(random.randint(21, 109))
        onset_s = free_s[pitch] + 0.05 + random.rand() * 2
        free_s[pitch] = onset_s + 0.2
        notes.append((onset_s, pitch, int(random.randint(1, 128))))
    return notes


def test_onsets_are_those_of_the_authors():
    theirs = np.load(THEIRS)
    config = replace(DECODER, threshold=0.7)
    ours = find_onsets(whole(OnsetActivations(*random_maps()).rows(), 6), config)
    assert len(ours.frame) > 1000
    order, their_order = (
        np.lexsort(keys)
        for keys in ((ours.key, ours.frame), (theirs["onset_keys"], theirs["onset_frames"]))
    )
    np.testing.assert_array_equal(ours.frame[order], theirs["onset_frames"][their_order])
    np.testing.assert_array_equal(ours.key[order], theirs["onset_keys"][their_order])
    for array, name in ((ours.probability, "probabilities"), (ours.velocity, "velocities")):
        np.testing.assert_allclose(
            array[order], theirs[f"onset_{name}"][their_order], rtol=0, atol=1e-6
        )


def test_ideal_activations_give_back_every_note():
    notes = random_notes()
    end_s = max(onset_s for onset_s, *_ in notes) + 0.2
    found = decode_onset_peaks(ideal(notes, int(end_s / FRAME_S) + 5), DECODER)
    assert len(found) == len(notes)
    reference, estimate = (
        (
            np.array([[onset, onset + 1] for onset, *_ in rows]),
            np.array([440 * 2 ** ((pitch - 69) / 12) for _, pitch, _ in rows]),
            np.array([velocity for *_, velocity in rows]),
        )
        for rows in (notes, [(n.onset_s, n.pitch, n.velocity) for n in found])
    )
    scores = mir_eval.transcription_velocity.precision_recall_f1_overlap(
        *reference, *estimate, offset_ratio=None, onset_tolerance=0.025
    )
    assert scores[:3] == (1.0, 1.0, 1.0)


def test_a_note_ends_when_its_key_is_struck_again_or_after_its_time():
    config = replace(DECODER, longest_note_s=0.5, onset_shift_s=-FRAME_S)  # the peak's lag
    notes = decode_onset_peaks(ideal([(0.24, 60, 64), (0.48, 60, 80), (0.24, 64, 1)], 60), config)
    assert sorted((n.pitch, n.onset_s, n.offset_s, n.velocity) for n in notes) == [
        (60, pytest.approx(0.24), pytest.approx(0.48), 64),
        (60, pytest.approx(0.48), pytest.approx(0.98), 80),
        (64, pytest.approx(0.24), pytest.approx(0.74), 1),
    ]


def test_the_threshold_is_for_the_blurred_probability():
    onset = np.zeros((40, 88), np.float32)
    onset[20, 5] = 1.0  # blurred by a deviation of one frame: 0.3989 at its top
    maps = OnsetActivations(onset, np.full_like(onset, 0.5))
    assert decode_onset_peaks(maps, replace(DECODER, threshold=0.4)) == []
    (note,) = decode_onset_peaks(maps, replace(DECODER, threshold=0.39))
    assert note.confidence == pytest.approx(0.39894, abs=1e-4)
    assert (note.pitch, note.velocity) == (26, 64)


def test_an_onset_in_the_first_frame_is_found_and_not_moved_before_the_recording():
    (note,) = decode_onset_peaks(ideal([(0.0, 60, 100)], 30), replace(DECODER, threshold=0.6))
    # The peak lies at frame 1, 0.024 s, and labels lag by 0.01 s.
    assert (note.onset_s, note.velocity) == (pytest.approx(0.014), 100)
    early = replace(DECODER, onset_shift_s=-0.1, threshold=0.6)
    assert decode_onset_peaks(ideal([(0.0, 60, 100)], 30), early)[0].onset_s == 0.0


@pytest.mark.parametrize(("length", "hop"), [(100, 60), (40, 10), (8, 2)])
def test_cut_into_windows_it_decodes_the_same(length, hop):
    samples = DECODER.hop_samples
    spec = WindowSpec(length * samples, hop * samples, (length - hop) // 2 * samples)
    maps = [smooth_maps(seed, 300, 88, 3) for seed in (5, 6)]
    n_windows = -(-(300 + length - hop) // hop)
    margin = (length - hop) // 2
    padded = [np.pad(m, ((margin, n_windows * hop + length), (0, 0))) for m in maps]
    decoder = OnsetPeaksDecoder(DECODER, spec)
    notes = []
    for k in range(n_windows):
        cut = [m[k * hop : k * hop + length + 1] for m in padded]
        notes += decoder.feed(OnsetActivations(*cut))
        assert len(decoder._ends._open) <= 88
    notes += decoder.close()
    expected = decode_onset_peaks(OnsetActivations(*maps), DECODER)
    assert len(expected) > 500
    by_time = sorted(notes, key=lambda n: (n.onset_s, n.pitch))
    assert by_time == sorted(expected, key=lambda n: (n.onset_s, n.pitch))


def test_a_note_comes_out_once_nothing_can_shorten_it():
    samples = DECODER.hop_samples
    decoder = OnsetPeaksDecoder(DECODER, WindowSpec(50 * samples, 50 * samples, 0))
    maps = ideal([(0.24, 60, 64)], 50)
    (note,) = decoder.feed(maps)  # at 1.2 s, when it is over since 0.85 s
    assert note.offset_s == pytest.approx(0.264 - 0.01 + 0.6)
    assert decoder.feed(None) == decoder.close() == []


@pytest.mark.parametrize(
    "wrong", [{"blur_frames": 10}, {"blur_deviation_frames": 0.0}, {"longest_note_s": 0.0}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        replace(DECODER, **wrong)
