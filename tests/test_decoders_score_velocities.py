"""Velocities of a score's notes: where they are read, and by which window."""

from dataclasses import replace

import numpy as np
import pytest
from score_windows import assign_notes

from amtcli.decoders.score_velocities import (
    ScoreNotes,
    ScoreVelocitiesConfig,
    ScoreVelocityDecoder,
    read_velocities,
    score_notes,
)
from amtcli.errors import ModelError
from amtcli.networks.velocity.score import score_rolls
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.windows import WindowSpec

CONFIG = ScoreVelocitiesConfig(1000, 100, "onset", 1)  # frames of 0.1 s
WINDOW = WindowSpec(length_samples=2000, hop_samples=1000, padding_samples=500)


def scored(*rows):
    """Notes of 50 ms: onset in seconds, pitch, velocity."""
    return score_notes(Performance(tuple(Note(t, t + 0.05, p, v) for t, p, v in rows)))


@pytest.mark.parametrize(
    ("reading", "reach_frames", "expected"),
    [
        ("onset", 1, [0.5, 0.25]),
        ("interpolated", 1, [0.5 * 0.6 + 0.25 * 0.4, 0.25]),
        ("highest", 1, [0.75, 0.5]),
        ("highest", 0, [0.5, 0.25]),
    ],
)
def test_ways_to_read(reading, reach_frames, expected):
    velocities = np.zeros((4, 88), np.float32)
    velocities[:, 5] = [0.75, 0.5, 0.25, 0.0]
    config = replace(CONFIG, reading=reading, reach_frames=reach_frames)
    read = read_velocities(velocities, np.array([1.4, 2.0]), np.array([5, 5]), config)
    np.testing.assert_allclose(read, np.multiply(expected, 128), rtol=1e-6)


def test_positions_beyond_the_frames_are_read_at_their_ends_and_velocities_are_midi():
    velocities = np.zeros((3, 88), np.float32)
    velocities[0, 0], velocities[2, 0] = 0.4, 1.0
    for reading in ("onset", "interpolated"):
        config = replace(CONFIG, reading=reading)
        read = read_velocities(velocities, np.array([-3, 1, 7.5]), np.zeros(3, int), config)
        assert read.tolist() == pytest.approx([51.2, 1, 127])  # 0 would end a note, 128 is none


def frames_of(index):
    """A window whose every answer tells window and frame."""
    values = (index * 20 + np.arange(21)) / 128
    return np.repeat(values[:, None], 88, axis=1).astype(np.float32)


def test_each_note_is_answered_by_the_window_in_whose_middle_it_begins():
    # Middles: -0.0 to 1.0 s, 1.0 to 2.0 s, 2.0 to 3.0 s; window k starts at k - 0.5 s.
    notes = scored((0.3, 60, 1), (0.99, 61, 1), (1.0, 62, 1), (2.96, 63, 1), (1.5, 64, 1))
    decoder = ScoreVelocityDecoder(CONFIG, WINDOW, notes)
    answered = [[note.pitch for note in decoder.feed(frames_of(k))] for k in range(3)]
    assert answered == [[60, 61], [62, 64], [63]]
    assert decoder.close() == []
    frames = [(0, 8), (0, 15), (1, 5), (2, 15), (1, 10)]
    assert decoder.velocities.tolist() == pytest.approx([20 * k + n for k, n in frames], abs=1e-4)


def test_notes_before_and_behind_belong_to_the_first_and_last_window():
    notes = scored((-2.0, 60, 1), (9.0, 61, 1))
    decoder = ScoreVelocityDecoder(CONFIG, WINDOW, notes)
    first = decoder.feed(frames_of(0))
    decoder.feed(frames_of(1))
    last = decoder.close()
    assert [note.pitch for note in first + last] == [60, 61]
    assert decoder.velocities.tolist() == pytest.approx([1, 40])


def test_without_padding_the_first_window_answers_for_its_margin():
    notes = scored((0.2, 60, 1), (1.4, 61, 1), (1.6, 62, 1))
    decoder = ScoreVelocityDecoder(CONFIG, replace(WINDOW, padding_samples=0), notes)
    assert [note.pitch for note in decoder.feed(frames_of(0))] == [60, 61]
    assert [note.pitch for note in decoder.feed(frames_of(1))] == [62]
    assert decoder.velocities.tolist() == pytest.approx([2, 14, 26])


def test_a_note_that_cannot_be_read_keeps_its_velocity():
    notes = scored((0.2, 60, 33), (0.3, 109, 44), (1.2, 61, 55))
    decoder = ScoreVelocityDecoder(CONFIG, WINDOW, notes)
    found = decoder.feed(None) + decoder.feed(frames_of(1))
    assert [note.velocity for note in found] == [33, 44, 27]
    assert np.isnan(decoder.velocities).tolist() == [True, True, False]


def test_every_note_of_any_score_is_answered_once():
    random = np.random.RandomState(0)
    rows = [(t, 21 + i % 88, 64) for i, t in enumerate(random.uniform(-1, 8, 200).tolist())]
    decoder = ScoreVelocityDecoder(CONFIG, WINDOW, scored(*rows))
    found = [note for k in range(5) for note in decoder.feed(frames_of(k))] + decoder.close()
    assert sorted(note.onset_s for note in found) == sorted(row[0] for row in rows)


@pytest.mark.parametrize("padding_samples", [0, 300, 500])
def test_windows_answer_for_the_notes_that_they_are_assigned(padding_samples):
    window = replace(WINDOW, padding_samples=padding_samples)
    onsets_s = np.random.RandomState(1).randint(-1000, 6000, 100) / 1000
    decoder = ScoreVelocityDecoder(CONFIG, window, scored(*((t, 60, 64) for t in onsets_s)))
    samples = np.rint(onsets_s * 1000).astype(np.int64)
    assigned = assign_notes(samples, samples + 50, window, 4321)
    for index, notes in enumerate(assigned):
        found = decoder.feed(frames_of(index))
        if index + 1 == len(assigned):
            found += decoder.close()
        assert sorted(n.onset_s for n in found) == sorted(onsets_s[notes.answered])


def test_without_a_score_there_is_nothing_to_decode():
    with pytest.raises(ModelError, match="amt refine-velocity"):
        ScoreVelocityDecoder(CONFIG, WINDOW)


def test_notes_of_a_performance_know_the_pedal_and_their_window():
    played = Performance(
        (Note(0.1, 0.2, 60, 50), Note(1.0, 1.5, 62, 60)), (PedalSpan(0.15, 0.8, 64),)
    )
    notes = score_notes(played)
    assert notes.sounding_end_s.tolist() == [0.8, 1.5]
    assert notes.key.tolist() == [39, 41]
    seen = notes.within(0.5, 0.4)
    assert isinstance(seen, ScoreNotes)
    assert len(seen) == 1
    assert seen.onset_s[0] == pytest.approx(-0.4)
    assert (seen.offset_s[0], seen.sounding_end_s[0]) == pytest.approx((-0.3, 0.3))
    assert len(notes.within(0.5, 0.5)) == 2
    assert len(notes.within(1.6, 1.0)) == 0


def test_a_negative_reach_is_refused():
    with pytest.raises(ValueError, match="reach_frames"):
        replace(CONFIG, reach_frames=-1)


def test_onsets_between_two_frames_are_read_where_the_network_was_told_of_them():
    config = ScoreVelocitiesConfig(16000, 400, "onset", 0)
    window = WindowSpec(length_samples=2_560_000, hop_samples=1_920_000, padding_samples=320_000)
    onsets_s = 0.0375 * np.arange(1, 1700)  # 1/32 at 200 per minute: every second one is a tie
    notes = scored(*((onset_s, 21 + k % 88, 64) for k, onset_s in enumerate(onsets_s.tolist())))
    start_s = window.start_samples(0) / 16000
    told = score_rolls(notes.within(start_s, 160.0), 6401, 0.025)["onset"]
    decoder = ScoreVelocityDecoder(config, window, notes)
    decoder.feed(0.5 * told.astype(np.float32))
    decoder.close()
    assert (decoder.velocities == 64).all()
