"""The decoder against hand-made cases, its own targets, and the authors' program."""

from dataclasses import fields, replace

import mir_eval
import numpy as np
import pytest
from hpt_checkpoint import stored
from make_parity_hpt import N_FRAMES, random_heads

from amtcli.checkpoints.hpt import DECODER
from amtcli.decoders.regression import (
    CONTEXT_FRAMES,
    RegressionActivations,
    RegressionDecoder,
    decode_regression,
    find_peaks,
)
from amtcli.notes import Note, PedalSpan
from amtcli.windows import WindowSpec

FRAME_S = 0.01
KEY = 60 - 21


def silence(n_frames):
    shapes = [(n_frames, 88)] * 4 + [(n_frames, 1)] * 3
    return RegressionActivations(*(np.zeros(shape, np.float32) for shape in shapes))


def triangles(times_s, n_frames):
    """What the regression heads are trained on: 1 at the time, 0 from 50 ms on."""
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
            frames = slice(round(onset_s / FRAME_S), round(offset_s / FRAME_S) + 1)
            maps.frame[frames, pitch - 21] = 1
            maps.velocity[frames, pitch - 21] = velocity / 128
    maps.pedal_offset[:, 0] = triangles([offset_s for _, offset_s in pedals], n_frames)
    for onset_s, offset_s in pedals:
        maps.pedal_frame[round(onset_s / FRAME_S) : round(offset_s / FRAME_S) + 1] = 1
    return maps


def random_notes(n=250, seed=0):
    """Notes of one key follow one another after at least 0.12 s; none begins at once."""
    random = np.random.RandomState(seed)
    notes, free_s = [], dict.fromkeys(range(21, 109), 0.0)
    for _ in range(n):
        pitch = int(random.randint(21, 109))
        onset_s = free_s[pitch] + 0.12 + random.rand() * 2
        offset_s = onset_s + 0.06 + random.rand() ** 3 * 4
        free_s[pitch] = offset_s
        notes.append((onset_s, offset_s, pitch, int(random.randint(1, 128))))
    return notes


def notes_of(found):
    return [event for event in found if isinstance(event, Note)]


def pedals_of(found):
    return [event for event in found if isinstance(event, PedalSpan)]


def in_order(found):
    return sorted(found, key=lambda e: (isinstance(e, Note), e.onset_s, getattr(e, "pitch", 0)))


def authors_maps():
    heads = random_heads()
    names = ["reg_onset", "reg_offset", "frame", "velocity", "reg_pedal_offset", "pedal_frame"]
    arrays = [heads[f"{name}_output"] for name in names]
    return RegressionActivations(*arrays, level=np.zeros_like(arrays[-1]))


def test_notes_and_pedals_are_those_of_the_authors():
    found = decode_regression(authors_maps(), DECODER)
    ours = sorted(notes_of(found), key=lambda n: (n.pitch, n.onset_s))
    theirs = stored()["notes"]
    order = np.lexsort((theirs[:, 0], theirs[:, 2]))
    theirs, velocities = theirs[order], stored()["velocities"][order]
    assert len(ours) == len(theirs) > 3000
    assert [n.pitch for n in ours] == theirs[:, 2].astype(int).tolist()
    np.testing.assert_allclose([n.onset_s for n in ours], theirs[:, 0], rtol=0, atol=1e-5)
    ends_s = np.maximum(theirs[:, 1], theirs[:, 0] + FRAME_S / 2)  # theirs may end before it
    np.testing.assert_allclose([n.offset_s for n in ours], ends_s, rtol=0, atol=1e-5)
    assert [n.velocity for n in ours] == np.maximum(velocities, 1).tolist()
    spans = [(p.onset_s, p.offset_s) for p in pedals_of(found)]
    np.testing.assert_allclose(spans, stored()["pedals"], rtol=0, atol=1e-5)


def test_ideal_activations_give_back_every_note_to_a_fraction_of_a_frame():
    notes = random_notes()
    n_frames = int(max(offset_s for _, offset_s, *_ in notes) / FRAME_S) + 20
    found = sorted(
        notes_of(decode_regression(ideal(notes, [], n_frames), DECODER)),
        key=lambda n: (n.pitch, n.onset_s),
    )
    notes.sort(key=lambda n: (n[2], n[0]))
    assert [n.pitch for n in found] == [n[2] for n in notes]
    onsets_s = np.array([n.onset_s for n in found])
    np.testing.assert_allclose(onsets_s, [n[0] for n in notes], rtol=0, atol=1e-4)
    rows = [(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in found]
    reference, estimate = (
        (
            np.array(table)[:, :2],
            440 * 2 ** ((np.array(table)[:, 2] - 69) / 12),
            np.array(table)[:, 3],
        )
        for table in (notes, rows)
    )
    scores = mir_eval.transcription_velocity.precision_recall_f1_overlap(*reference, *estimate)
    assert scores[:3] == (1.0, 1.0, 1.0)


def test_ideal_activations_give_back_every_pedal():
    pedals = [(0.103, 0.52), (0.711, 2.049), (2.2, 9.497)]
    found = pedals_of(decode_regression(ideal([], pedals, 1000), DECODER))
    np.testing.assert_allclose([p.onset_s for p in found], [p[0] for p in pedals], atol=0.005)
    np.testing.assert_allclose([p.offset_s for p in found], [p[1] for p in pedals], atol=1e-4)
    assert {p.controller for p in found} == {64}


@pytest.mark.parametrize("time", [5.0, 5.3, 5.5, 5.99])
def test_the_top_of_a_triangle_is_found_between_the_frames(time):
    values = np.pad(np.clip(1 - np.abs(np.arange(12) - time) / 5, 0, 1), CONTEXT_FRAMES)
    is_peak, shift = find_peaks(values.astype(np.float32)[:, None], 0.3, 2)
    (frame,) = np.flatnonzero(is_peak)
    assert frame + shift[frame, 0] == pytest.approx(time, abs=1e-5)


def test_of_a_flat_top_the_first_frame_is_the_peak():
    values = np.pad(np.float32([0.2, 0.6, 1, 1, 1, 0.6, 0.2]), CONTEXT_FRAMES)[:, None]
    is_peak, shift = find_peaks(values, 0.3, 2)
    assert np.flatnonzero(is_peak).tolist() == [2]
    assert shift[2, 0] == 0.5


def test_a_peak_must_fall_for_its_reach_and_exceed_the_threshold():
    bumpy = np.pad(np.float32([0.1, 0.4, 0.3, 0.35, 0.1]), CONTEXT_FRAMES)[:, None]
    assert not find_peaks(bumpy, 0.3, 2)[0][1, 0]  # it rises again two frames on
    assert find_peaks(bumpy, 0.3, 1)[0][:, 0].tolist() == [False, True, False, True, False]
    assert not find_peaks(bumpy, 0.4, 1)[0].any()


def one_key(n_frames, onsets, frames, offsets=()):
    maps = silence(n_frames)
    for frame in onsets:
        maps.onset[frame - 1 : frame + 2, KEY] = (0.5, 0.9, 0.5)
    maps.frame[frames, KEY] = 1
    for frame in offsets:
        maps.offset[frame - 1 : frame + 2, KEY] = (0.5, 0.9, 0.5)
    return [
        (round(n.onset_s / FRAME_S, 3), round(n.offset_s / FRAME_S, 3))
        for n in decode_regression(maps, DECODER)
    ]


def test_a_note_ends_at_the_nearer_of_offset_and_silence():
    assert one_key(100, [20], slice(20, 60), [50]) == [(20, 50)]
    # The offset lies nearer to the onset than to the silence: it belongs to something else.
    assert one_key(100, [20], slice(20, 60), [30]) == [(20, 60)]
    assert one_key(100, [20], slice(20, 60)) == [(20, 60)]


def test_a_key_struck_again_ends_its_note_one_frame_before():
    assert one_key(100, [20, 40], slice(20, 60)) == [(20, 39), (40, 60)]


def test_a_note_without_an_end_is_ended():
    assert one_key(900, [20], slice(20, 900)) == [(20, 620)]
    assert one_key(100, [20], slice(20, 100)) == [(20, 99)]


def test_an_onset_in_the_first_frame_counts():
    maps = silence(50)
    maps.onset[:3, KEY] = (0.9, 0.7, 0.5)
    maps.frame[:20, KEY] = 1
    (note,) = decode_regression(maps, DECODER)
    assert 0 <= note.onset_s < 0.005
    assert (note.offset_s, note.confidence) == (pytest.approx(0.2), pytest.approx(0.9))


def test_a_pedal_waits_for_its_offset_and_is_closed_with_the_recording():
    maps = silence(100)
    maps.pedal_frame[10:30] = 0.9
    maps.pedal_offset[34:37, 0] = (0.2, 0.5, 0.2)  # five frames after the silence
    maps.pedal_frame[60:] = 0.9
    spans = [(p.onset_s, p.offset_s) for p in decode_regression(maps, DECODER)]
    np.testing.assert_allclose(spans, [(0.1, 0.35), (0.6, 1.0)])
    maps.pedal_offset[:] = 0
    assert decode_regression(maps, DECODER)[0].offset_s == pytest.approx(0.3)


@pytest.mark.parametrize(("length", "hop", "padding"), [(400, 200, 0), (60, 20, 20), (12, 4, 4)])
def test_cut_into_windows_it_decodes_the_same(length, hop, padding):
    samples = DECODER.hop_samples
    spec = WindowSpec(length * samples, hop * samples, padding * samples)
    decoder = RegressionDecoder(DECODER, spec)
    n_windows = spec.n_windows(N_FRAMES * samples)
    whole = authors_maps()
    padded = [
        np.pad(getattr(whole, f.name), ((padding, n_windows * hop + length), (0, 0)))
        for f in fields(whole)
    ]
    found = []
    for k in range(n_windows):
        found += decoder.feed(
            RegressionActivations(*(m[k * hop : k * hop + length + 1] for m in padded))
        )
    found += decoder.close()
    expected = decode_regression(whole, DECODER)
    assert in_order(found) == in_order(expected)


def test_windows_without_sound_end_what_was_open():
    samples = DECODER.hop_samples
    decoder = RegressionDecoder(DECODER, WindowSpec(50 * samples, 50 * samples, 0))
    maps = ideal([(0.2, 3.0, 60, 100)], [(0.2, 3.0)], 51)
    assert decoder.feed(maps) == []
    note, pedal = in_order(decoder.feed(None))[::-1]
    assert (note.onset_s, note.offset_s) == (pytest.approx(0.2), pytest.approx(0.5))
    assert (pedal.onset_s, pedal.offset_s) == (pytest.approx(0.2), pytest.approx(0.5))
    assert decoder.close() == []


def test_a_lower_threshold_finds_more():
    found = [
        len(notes_of(decode_regression(authors_maps(), replace(DECODER, onset_threshold=t))))
        for t in (0.2, 0.3, 0.6)
    ]
    assert found[0] > found[1] > found[2] > 0
