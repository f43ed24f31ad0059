"""Performances played otherwise: what may change, how far, and what may not."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from amtcli.datasets.rendering_variation import vary
from amtcli.notes import Beat, Note, PedalSpan, Performance

SEEDS = range(40)


def scale(n_notes=240, length_s=0.4, velocity=64):
    """Play one note every half second, two octaves up and down, for two minutes."""
    pitches = [48 + abs(i % 48 - 24) for i in range(n_notes)]
    return tuple(
        Note(0.5 * i, 0.5 * i + length_s, pitch, velocity) for i, pitch in enumerate(pitches)
    )


def varied(seed, performance=None):
    return vary(performance or Performance(scale()), np.random.default_rng(seed))


def tempo(performance, pedal_s=60.0):
    return pedal_s / performance.pedals[0].onset_s


@pytest.mark.parametrize("seed", SEEDS)
def test_no_key_is_struck_before_it_is_up(seed):
    by_pitch = {}
    for note in varied(seed).notes:
        by_pitch.setdefault(note.pitch, []).append(note)
    for notes in by_pitch.values():
        assert all(a.offset_s <= b.onset_s for a, b in pairwise(notes))
        assert all(note.offset_s - note.onset_s > 0.03 for note in notes)


def test_the_tempo_is_one_for_notes_pedals_and_beats_and_lies_in_its_range():
    pedal = PedalSpan(60.0, 90.0, 64)
    tempos = []
    for seed in SEEDS:
        played = varied(seed, Performance(scale(241, velocity=90), (pedal,), (Beat(60.0, True),)))
        tempos.append(tempo(played))
        assert played.pedals[0].offset_s == pytest.approx(90.0 / tempos[-1])
        assert played.beats == (Beat(played.pedals[0].onset_s, True),)
        assert played.notes[0].onset_s == 0.0
        assert any(note.onset_s == pytest.approx(60.0 / tempos[-1]) for note in played.notes)
    assert 0.9 <= min(tempos) < 1.0 and 1.5 < max(tempos) <= 1.7


def test_beats_take_the_tempo():
    beats = (Beat(60.0, True, "f"), Beat(90.0))
    played = varied(3, Performance(scale(), (PedalSpan(60.0, 90.0, 64),), beats))
    pedal = played.pedals[0]
    assert pedal.onset_s != 60.0
    assert played.beats == (Beat(pedal.onset_s, True, "f"), Beat(pedal.offset_s))


def test_every_stroke_of_the_original_is_still_there():
    pedal = PedalSpan(60.0, 90.0, 64)
    for seed in SEEDS:
        played = varied(seed, Performance(scale(), (pedal,)))
        there = {(round(note.onset_s, 9), note.pitch) for note in played.notes}
        wanted = {(round(n.onset_s / tempo(played), 9), n.pitch) for n in scale()}
        assert wanted <= there


def test_velocities_are_mostly_softer_and_stay_in_range():
    notes = scale(120, velocity=30) + tuple(
        Note(note.onset_s + 60, note.offset_s + 60, note.pitch, 100) for note in scale(120)
    )
    played = [varied(seed, Performance(notes)).notes for seed in range(200)]
    assert all(6 <= note.velocity <= 122 for notes in played for note in notes)
    soft, loud = (
        np.mean([[n.velocity for n in notes[i:][:40:8]] for notes in played]) for i in (0, -40)
    )
    # 64 + 1.1 (30 - 64) - 8 = 18.6 and 64 + 1.1 (100 - 64) - 8 = 95.6
    assert soft == pytest.approx(18.6, abs=4)
    assert loud == pytest.approx(95.6, abs=4)


def test_some_stretches_have_octaves_and_half_have_none():
    notes = scale(480, length_s=0.1)  # too short to be repeated
    intervals, n_plain, n_stretches = Counter(), 0, 0
    for seed in SEEDS:
        played = varied(seed, Performance(notes, (PedalSpan(60.0, 90.0, 64),)))
        known = {(round(n.onset_s / tempo(played), 9), n.pitch) for n in notes}
        added = [n for n in played.notes if (round(n.onset_s, 9), n.pitch) not in known]
        onsets_s = np.array([onset_s for onset_s, _ in known])
        stretches = {int(note.onset_s / 8) for note in added}
        n_all = int(max(onsets_s) / 8) + 1
        n_stretches += n_all
        n_plain += n_all - len(stretches)
        for note in added:
            near = [p for onset_s, p in known if abs(onset_s - note.onset_s) < 0.03]
            intervals[note.pitch - near[0]] += 1
    assert set(intervals) == {-24, -12, 12, 19, 24}
    assert intervals[-12] > intervals[12] > intervals[19]
    assert 0.4 < n_plain / n_stretches < 0.62


def test_repeated_notes_fill_the_time_of_the_one_they_stand_for():
    held = Performance((Note(1.0, 4.0, 60, 64),))
    seen = set()
    for seed in range(300):
        notes = [note for note in varied(seed, held).notes if note.pitch == 60]
        seen.add(len(notes))
        onsets_s = np.array([note.onset_s for note in notes])
        assert notes[-1].offset_s == pytest.approx(4.0 * notes[0].onset_s)
        if len(notes) > 1:
            periods_s = np.diff(onsets_s)
            assert np.allclose(periods_s, periods_s[0]) and 0.085 <= periods_s[0] <= 0.2
            up_s = notes[1].onset_s - notes[0].offset_s
            assert 0.015 - 1e-9 <= up_s <= 0.05 + 1e-9
    assert {1, 2} < seen and 11 <= max(seen) <= 13


def test_the_same_random_numbers_play_the_same_and_others_do_not():
    assert varied(3) == varied(3)
    assert varied(3) != varied(4)


def test_a_performance_without_notes_stays_without():
    assert varied(0, Performance((), ())) == Performance((), ())
