"""The decoder against its own targets, hand-made cases, and recordings cut differently."""

from dataclasses import fields

import numpy as np
import pytest

from amtcli.decoders.note_states import NoteOn
from amtcli.decoders.peaks import PeaksConfig, PeaksDecoder, decode_peaks, find_tops
from amtcli.decoders.regression import RegressionActivations
from amtcli.notes import Note, PedalSpan, Performance, extend_by_pedal
from amtcli.windows import WindowSpec

CONFIG = PeaksConfig(
    sample_rate_hz=16000,
    hop_samples=400,  # 25 ms
    onset_threshold=0.4,
    offset_threshold=0.35,
    frame_threshold=0.15,
    pedal_offset_threshold=0.35,
    pedal_frame_threshold=0.5,
    longest_note_s=10.0,
)
FRAME_S = 0.025
KEY = 60 - 21


def silence(n_frames):
    shapes = [(n_frames, 88)] * 4 + [(n_frames, 1)] * 3
    return RegressionActivations(*(np.zeros(shape, np.float32) for shape in shapes))


def triangles(times_s, n_frames):
    distance_s = np.abs(np.arange(n_frames)[:, None] * FRAME_S - np.array([*times_s, np.inf]))
    return np.clip(1 - distance_s.min(axis=1) / 0.05, 0, 1)


def ideal(notes, pedals, n_frames):
    """Activations of (onset_s, offset_s, pitch, velocity) and of pedals (onset_s, offset_s)."""
    maps = silence(n_frames)
    for pitch in {note[2] for note in notes}:
        own = [note for note in notes if note[2] == pitch]
        maps.onset[:, pitch - 21] = triangles([note[0] for note in own], n_frames)
        maps.offset[:, pitch - 21] = triangles([note[1] for note in own], n_frames)
        for onset_s, offset_s, _, velocity in own:
            first, stop = round(onset_s / FRAME_S), round(offset_s / FRAME_S)
            maps.frame[first:stop, pitch - 21] = 1
            maps.velocity[max(first - 1, 0) : first + 2, pitch - 21] = velocity / 128
    maps.pedal_offset[:, 0] = triangles([offset_s for _, offset_s in pedals], n_frames)
    for onset_s, offset_s in pedals:
        maps.pedal_frame[round(onset_s / FRAME_S) : round(offset_s / FRAME_S)] = 1
    return maps


def random_notes(n=250):
    """Strokes of one key follow one another after 0.1 s or more, half of them while it sounds."""
    random = np.random.RandomState(0)
    notes, free_s = [], dict.fromkeys(range(21, 109), 0.1)
    for _ in range(n):
        pitch = int(random.randint(21, 109))
        rest_s = random.randint(2) * (0.05 + random.rand())
        onset_s = free_s[pitch] + rest_s
        free_s[pitch] = offset_s = onset_s + 0.1 + random.rand() ** 3 * 4
        notes.append((onset_s, offset_s, pitch, int(random.randint(1, 128))))
    return sorted(notes, key=lambda note: (note[2], note[0]))


def rows(found):
    notes = sorted((e for e in found if isinstance(e, Note)), key=lambda n: (n.pitch, n.onset_s))
    return np.array([(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in notes])


def presses(found):
    return [(e.onset_s, e.offset_s) for e in found if isinstance(e, PedalSpan)]


def one_key(n_frames, onsets, frames, offsets=(), config=CONFIG):
    """Begins and ends, in frames, of the notes of one key."""
    maps = silence(n_frames)
    for frame in onsets:
        maps.onset[frame - 1 : frame + 2, KEY] = (0.5, 0.9, 0.5)
    maps.frame[frames, KEY] = 1
    for frame in offsets:
        maps.offset[frame - 1 : frame + 2, KEY] = (0.5, 0.9, 0.5)
    return [
        (round(n.onset_s / FRAME_S, 3), round(n.offset_s / FRAME_S, 3))
        for n in decode_peaks(maps, config)
    ]


def test_ideal_activations_give_back_every_note_to_a_fraction_of_a_frame():
    notes = random_notes()
    n_frames = int(max(offset_s for _, offset_s, *_ in notes) / FRAME_S) + 20
    found = rows(decode_peaks(ideal(notes, [], n_frames), CONFIG))
    assert found[:, 2:].tolist() == [list(note[2:]) for note in notes]
    np.testing.assert_allclose(found[:, 0], [note[0] for note in notes], rtol=0, atol=0.003)
    np.testing.assert_allclose(found[:, 1], [note[1] for note in notes], rtol=0, atol=0.026)


def test_ideal_activations_give_back_every_pedal():
    pedals = [(0.1, 0.52), (0.62, 2.049), (2.2, 4.497)]
    found = presses(decode_peaks(ideal([], pedals, 200), CONFIG))
    np.testing.assert_allclose([p[0] for p in found], [p[0] for p in pedals], atol=0.026)
    np.testing.assert_allclose([p[1] for p in found], [p[1] for p in pedals], atol=1e-4)


@pytest.mark.parametrize("time", [5.0, 5.3, 5.5, 5.99])
def test_the_top_of_a_triangle_is_found_between_the_frames(time):
    values = np.pad(np.clip(1 - np.abs(np.arange(12) - time) / 2, 0, 1), 1)
    is_peak, shift = find_tops(values.astype(np.float32)[:, None], 0.4)
    (frame,) = np.flatnonzero(is_peak)
    assert frame + shift[frame, 0] == pytest.approx(time, abs=1e-5)


def test_of_equal_neighbours_the_first_is_the_peak_and_the_threshold_counts():
    values = np.pad(np.float32([0.2, 0.6, 0.6, 0.2, 0.4, 0.1]), 1)[:, None]
    is_peak, shift = find_tops(values, 0.4)
    assert np.flatnonzero(is_peak).tolist() == [1, 4]
    assert shift[1, 0] == 0.5
    assert np.flatnonzero(find_tops(values, 0.41)[0]).tolist() == [1]


def test_a_note_ends_with_the_first_sign_of_it():
    assert one_key(100, [20], slice(20, 60)) == [(20, 60)]
    assert one_key(100, [20], slice(20, 60), [50]) == [(20, 50)]
    assert one_key(100, [20], slice(20, 60), [70]) == [(20, 60)]
    assert one_key(100, [20, 40], slice(20, 60)) == [(20, 40), (40, 60)]
    assert one_key(100, [20], slice(20, 21)) == [(20, 22)]  # as long as a note must be


def test_a_key_struck_twice_within_a_tenth_of_a_second_sounds_twice():
    assert one_key(100, [20, 23], slice(20, 60)) == [(20, 23), (23, 60)]


def test_a_note_without_an_end_is_ended():
    assert one_key(500, [20], slice(20, 500)) == [(20, 420)]
    assert one_key(100, [20], slice(20, 100)) == [(20, 100)]


def test_an_onset_in_the_first_frame_is_not_before_the_recording():
    maps = silence(50)
    maps.onset[:2, KEY] = (0.9, 0.7)
    maps.frame[:20, KEY] = 1
    (note,) = decode_peaks(maps, CONFIG)
    assert (note.onset_s, note.offset_s) == pytest.approx((0.7 / 1.8 * FRAME_S, 20 * FRAME_S))


def test_a_pedal_changed_without_silence_is_pressed_anew():
    maps = silence(100)
    maps.pedal_frame[10:60] = 0.9
    maps.pedal_offset[29:32, 0] = (0.2, 0.9, 0.2)
    found = presses(decode_peaks(maps, CONFIG))
    np.testing.assert_allclose(found, [(10 * FRAME_S, 30 * FRAME_S), (32 * FRAME_S, 60 * FRAME_S)])


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ([(0.5, 1.5, 60, 64)], [(1.0, 1.5), (1.5125, 2.0)]),
        ([(0.5, 1.5, 60, 64), (1.5, 2.0, 60, 64)], [(1.0, 2.0)]),  # struck again: says nothing
        ([(0.5, 1.475, 60, 64), (1.5, 2.0, 60, 64)], [(1.0, 2.0)]),
        ([(0.5, 1.08, 60, 64)], [(1.0925, 2.0)]),  # what comes before is too short for a press
        ([(0.5, 1.95, 60, 64)], [(1.0, 1.95)]),
        (
            [(0.5, 1.7, 60, 64), (0.6, 1.4, 64, 64)],
            [(1.0, 1.4), (1.4125, 1.7), (1.7125, 2.0)],
        ),
    ],
)
def test_a_pedal_is_up_when_a_sound_ends(notes, expected):
    maps = ideal(notes, [(1.0, 2.0)], 200)
    found = presses(decode_peaks(maps, CONFIG))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_pedals_lengthen_no_note_but_up_to_its_next_stroke():
    notes = random_notes()
    found = decode_peaks(ideal(notes, [(0.2, 4.0), (4.2, 9.0), (9.1, 12.0)], 600), CONFIG)
    performance = Performance(
        tuple(e for e in found if isinstance(e, Note)),
        tuple(e for e in found if isinstance(e, PedalSpan)),
    )
    assert len(performance.pedals) > 20
    before, after = rows(performance.notes), rows(extend_by_pedal(performance).notes)
    np.testing.assert_allclose(after[:, 1], before[:, 1], rtol=0, atol=1.2 * FRAME_S)


def test_a_pedal_that_is_not_released_ends_with_the_recording():
    maps = silence(40)
    maps.pedal_frame[30:] = 0.9
    np.testing.assert_allclose(presses(decode_peaks(maps, CONFIG)), [(0.75, 1.0)])


def test_a_recording_in_windows_is_the_recording_at_once():
    random = np.random.RandomState(3)
    notes, pedals = random_notes(120), [(0.1, 0.9), (1.1, 3.0), (3.1, 6.0)]
    maps = ideal(notes, pedals, 400)
    for field in fields(maps):
        part = getattr(maps, field.name)
        part += (0.3 * random.rand(*part.shape)).astype(np.float32)
    at_once = decode_peaks(maps, CONFIG)
    assert len(at_once) > 100
    window = WindowSpec(60 * 400, 40 * 400, 10 * 400)
    decoder, found = PeaksDecoder(CONFIG, window), []
    for start in range(-10, 400, 40):
        cut = {}
        for field in fields(maps):
            padded = np.pad(getattr(maps, field.name), ((10, 60), (0, 0)))
            cut[field.name] = padded[start + 10 : start + 70]
        found += decoder.feed(RegressionActivations(**cut))
    found += decoder.close()

    def known(event):
        return event.offset_s <= 400 * FRAME_S - 1e-9

    def key(event):
        return isinstance(event, Note), event.onset_s, getattr(event, "pitch", 0)

    assert sorted(filter(known, found), key=key) == sorted(filter(known, at_once), key=key)


def test_silent_windows_end_what_sounds():
    decoder = PeaksDecoder(CONFIG, WindowSpec(60 * 400, 40 * 400, 10 * 400))
    maps = silence(60)
    maps.onset[39:42, KEY] = (0.5, 0.9, 0.5)
    maps.frame[40:, KEY] = maps.pedal_frame[40:, 0] = 1
    assert decoder.feed(maps) == []
    (pedal,) = decoder.feed(None)
    assert (pedal.onset_s, pedal.offset_s) == pytest.approx((30 * FRAME_S, 40 * FRAME_S))
    (note,) = decoder.close()
    assert (note.onset_s, note.offset_s) == pytest.approx((30 * FRAME_S, 40 * FRAME_S))


def two_notes(levels):
    """Two notes of velocity 64 beside silence; everything that sounds has its level."""
    maps = silence(60)
    maps.level[:] = 5.0
    for first, level in zip((10, 40), levels, strict=True):
        maps.onset[first - 1 : first + 2, KEY] = (0.5, 0.9, 0.6)
        maps.frame[first - 1 : first + 10, KEY] = 1
        maps.velocity[first, KEY] = 0.5
        maps.level[first - 1 : first + 10] = level
    return maps


@pytest.mark.parametrize(("levels", "velocity"), [((1, 3), 15), ((-1, -3), 113), ((2, -2), 64)])
def test_velocities_are_counted_from_the_mean_level_of_what_sounds(levels, velocity):
    # 128 / (1 + exp(mean)): the logit of 0.5 is 0.
    found = decode_peaks(two_notes(levels), CONFIG)
    assert [note.velocity for note in found] == [velocity, velocity]


def test_live_a_velocity_is_counted_from_the_level_so_far_and_stays():
    maps = two_notes((1, -1))
    decoder = PeaksDecoder(CONFIG, WindowSpec(400, 400, 0))
    events = []
    for frame in range(60):
        one = {f.name: getattr(maps, f.name)[frame : frame + 1] for f in fields(maps)}
        events += decoder.push(RegressionActivations(**one))
    # 11 frames of 1 and 2 of -1: their mean is 9 / 13.
    expected = [34, round(128 / (1 + np.exp(9 / 13)))]
    assert [e.velocity for e in events if isinstance(e, NoteOn)] == expected
    assert [e.velocity for e in events if isinstance(e, Note)] == expected


def test_frame_by_frame_a_note_begins_one_frame_after_its_peak():
    maps = silence(40)
    maps.onset[9:12, KEY] = (0.5, 0.9, 0.6)
    maps.frame[10:20, KEY] = 1
    maps.velocity[10, KEY] = 0.5
    decoder = PeaksDecoder(CONFIG, WindowSpec(400, 400, 0))
    events = {}
    for frame in range(40):
        one = {f.name: getattr(maps, f.name)[frame : frame + 1] for f in fields(maps)}
        for event in decoder.push(RegressionActivations(**one)):
            events[frame] = event
    onset_s = pytest.approx((10 + 0.1 / 0.8) * FRAME_S)
    assert events == {
        11: NoteOn(onset_s, 60, 64, pytest.approx(0.9)),
        21: Note(onset_s, pytest.approx(20 * FRAME_S), 60, 64, pytest.approx(0.9)),
    }
    assert decoder.close() == []
