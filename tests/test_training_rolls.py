"""Targets by hand, and against the programs of their authors (``make_parity_targets.py``)."""

from pathlib import Path

import numpy as np
import pytest
from make_parity_targets import WINDOW_S, WINDOW_START_S, performance

from amtcli.datasets.labels import Labels, labels_of_performance
from amtcli.errors import DataError
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.training.rolls import (
    FrameGrid,
    cells,
    fill,
    nearest,
    note_frames,
    note_states,
    pedal_frames,
    published_triangles,
    triangles,
    velocities,
    whole_notes_mask,
)

PARITY = Path(__file__).parent / "data" / "parity" / "targets.npz"
HPT_GRID = FrameGrid.over(WINDOW_S, 16000, 160)


@pytest.fixture(scope="module")
def parity():
    return dict(np.load(PARITY))


def labels(*notes, pedals=()):
    """Labels of notes (onset_s, offset_s, pitch) and of presses of the sustain pedal."""
    played = tuple(Note(on, off, pitch, 64 + i) for i, (on, off, pitch) in enumerate(notes))
    return labels_of_performance(Performance(played, tuple(PedalSpan(*p, 64) for p in pedals)))


def placed(*notes, pedals=(), extends=True, grid=HPT_GRID):
    return note_frames(labels(*notes, pedals=pedals), grid, pedal_extends_notes=extends)


def one_column(make, positions, n_frames=100, half_width=5):
    column = np.zeros(len(positions), np.int64)
    return make(np.array(positions), column, (n_frames, 1), half_width)[:, 0]


def window_labels():
    """What sounds in the window that the authors' rolls were made of."""
    played = performance()
    start, end = WINDOW_START_S, WINDOW_START_S + WINDOW_S
    notes = [n for n in played.notes if n.offset_s > start and n.onset_s < end]
    pedals = [p for p in played.pedals if p.offset_s > start and p.onset_s < end]
    return labels_of_performance(
        Performance(
            tuple(Note(n.onset_s - start, n.offset_s - start, n.pitch, n.velocity) for n in notes),
            tuple(PedalSpan(p.onset_s - start, p.offset_s - start, 64) for p in pedals),
        )
    )


def test_a_grid_has_a_frame_on_the_very_end_of_a_window():
    assert HPT_GRID.n_frames == 1001
    assert FrameGrid.over(5.0, 16000, 384).n_frames == 209  # the last one at 4.992 s
    assert FrameGrid.over(16.0, 44100, 1024).n_frames == 690
    np.testing.assert_allclose(HPT_GRID.frames(np.array([0.1234])), [12.34])


def test_notes_off_the_keyboard_are_left_out():
    notes = placed((1.0, 1.5, 20), (1.0, 1.5, 21), (1.0, 1.5, 108), (1.0, 1.5, 109))
    assert notes.key.tolist() == [0, 87]
    assert notes.velocity.tolist() == [65, 66]


@pytest.mark.parametrize(("extends", "end"), [(True, 200.0), (False, 120.0)])
def test_the_pedal_extends_notes_if_asked_to(extends, end):
    notes = placed((1.0, 1.2, 60), pedals=[(1.1, 2.0)], extends=extends)
    np.testing.assert_allclose([notes.release[0], notes.end[0]], [120.0, end])


def test_no_note_outlasts_the_next_onset_of_its_key():
    notes = placed((1.0, 1.8, 60), (1.1, 1.2, 61), (1.5, 1.9, 60), extends=False)
    np.testing.assert_allclose(notes.end, [150.0, 120.0, 190.0])
    assert notes.restruck.tolist() == [False, False, True]


def test_what_the_data_set_does_not_know_is_refused():
    with pytest.raises(DataError, match="knows none"):
        note_frames(Labels(), HPT_GRID, pedal_extends_notes=True)
    with pytest.raises(DataError, match="pedals"):
        pedal_frames(Labels(), HPT_GRID)


def test_spans_are_cut_at_the_window():
    frame, span = cells(np.array([-2, 3, 8, 20]), np.array([2, 3, 12, 22]), 10)
    assert frame.tolist() == [0, 1, 8, 9]
    assert span.tolist() == [0, 0, 2, 2]


def test_of_two_spans_in_one_cell_the_later_one_counts():
    roll = np.zeros((6, 1), np.uint8)
    column = np.zeros(2, np.int64)
    fill(roll, np.array([0, 2]), np.array([4, 5]), column, np.array([7, 9]))
    assert roll[:, 0].tolist() == [7, 7, 9, 9, 9, 0]


def test_halves_go_to_the_even_frame():
    assert nearest(np.array([0.5, 1.5, 2.5, -0.5])).tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize("make", [triangles, published_triangles])
def test_a_triangle_tells_where_between_the_frames_its_top_lies(make):
    found = one_column(make, [20.4])
    np.testing.assert_allclose(found[19:23], [0.72, 0.92, 0.88, 0.68], atol=1e-6)
    assert np.flatnonzero(found).tolist() == list(range(16, 26))
    np.testing.assert_allclose(found[[16, 25]], [0.12, 0.08], atol=1e-6)


def test_the_published_rising_sides_are_those_of_the_event_before():
    positions = [20.4, 49.6]
    np.testing.assert_allclose(one_column(triangles, positions)[49], 0.88, atol=1e-6)
    published = one_column(published_triangles, positions)
    np.testing.assert_allclose(published[49], 0.72, atol=1e-6)  # as if its top were at 50.4
    np.testing.assert_allclose(published[50:52], [0.92, 0.72], atol=1e-6)  # the falling side


def test_between_two_tops_the_nearer_counts():
    found = one_column(triangles, [20.0, 26.0])
    np.testing.assert_allclose(found[20:27], [1, 0.8, 0.6, 0.4, 0.6, 0.8, 1], atol=1e-6)
    published = one_column(published_triangles, [20.0, 27.0])
    np.testing.assert_allclose(published[22:26], [0.6, 0.2, 0.4, 0.6], atol=1e-6)


def test_a_top_beside_the_window_reaches_into_it():
    np.testing.assert_allclose(one_column(triangles, [-1.5])[:4], [0.7, 0.5, 0.3, 0.1])
    assert not one_column(triangles, [-6.0, 105.0]).any()


@pytest.mark.parametrize(
    ("notes", "pedals", "states"),
    [
        pytest.param([(0.02, 0.05, 60)], [], "003221000000", id="plain"),
        pytest.param([(0.02, 0.023, 60)], [], "003100000000", id="shorter than a frame"),
        pytest.param([(-0.05, 0.03, 60)], [], "222100000000", id="began before"),
        pytest.param([(0.02, 0.5, 60)], [], "003222222222", id="lasts longer"),
        pytest.param([(0.02, 0.04, 60), (0.07, 0.1, 60)], [], "003210032210", id="struck again"),
        pytest.param(
            [(0.02, 0.04, 60), (0.07, 0.1, 60)],
            [(0.03, 0.08)],
            "003222242210",
            id="struck again, held by the pedal",
        ),
        pytest.param(
            [(0.02, 0.04, 60), (0.05, 0.1, 60)], [], "003213222210", id="released just before"
        ),
        pytest.param(
            [(0.02, 0.046, 60), (0.05, 0.1, 60)], [], "003223222210", id="in the same frame"
        ),
    ],
)
def test_states_by_hand(notes, pedals, states):
    found = note_states(placed(*notes, pedals=pedals), 12, 1)
    assert "".join(map(str, found[:, 39])) == states
    assert not np.delete(found, 39, axis=1).any()


def test_onsets_of_several_frames():
    states = note_states(placed((0.02, 0.08, 60), (0.02, 0.03, 61)), 12, 3)
    assert "".join(map(str, states[:, 39])) == "003332221110"
    assert "".join(map(str, states[:, 40])) == "003331110000"


def test_velocities_by_hand():
    roll = velocities(placed((0.02, 0.05, 60), (0.05, 0.08, 60), (0.04, 0.042, 61)), 10)
    assert roll[:, 39].tolist() == [0, 0, 64, 64, 64, 65, 65, 65, 0, 0]
    assert roll[:, 40].tolist() == [0, 0, 0, 0, 66, 0, 0, 0, 0, 0]


def test_notes_that_the_window_cuts_are_masked():
    grid = FrameGrid.over(0.1, 16000, 160)
    notes = placed((-0.05, 0.02, 60), (0.05, 0.08, 60), (0.03, 0.2, 61), grid=grid)
    mask = whole_notes_mask(notes, grid.n_frames).astype(int)
    assert mask[:, 39].tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert mask[:, 40].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert mask[:, 41].all()


def test_a_sound_that_the_pedal_carries_out_of_the_window_is_not_masked():
    grid = FrameGrid.over(0.1, 16000, 160)
    notes = placed((0.03, 0.06, 60), pedals=[(0.05, 0.3)], grid=grid)
    assert notes.end[0] == pytest.approx(30)
    assert whole_notes_mask(notes, grid.n_frames).all()


def test_regression_targets_are_those_of_their_authors(parity):
    """With key-ups as ends: held by the pedal, theirs may outlast their key's next onset."""
    notes = note_frames(window_labels(), HPT_GRID, pedal_extends_notes=False)
    shape = (1001, 88)
    mask = whole_notes_mask(notes, 1001)
    np.testing.assert_array_equal(mask, parity["hpt_mask_roll"])
    for positions, name in ((notes.onset, "onset"), (notes.end, "offset")):
        theirs = parity[f"hpt_reg_{name}_roll"]
        published = published_triangles(positions, notes.key, shape, 5)
        # They end notes that are held at the window's end right there, which shows before them.
        known = mask & (np.arange(1001) < 990)[:, None]
        np.testing.assert_allclose(published[known], theirs[known], atol=1e-5)
        correct = triangles(positions, notes.key, shape, 5)
        differ = np.abs(correct - theirs)[known]
        assert 0.05 < differ.max() < 0.25
        assert (differ > 1e-3).sum() > 300
    frame, key = np.nonzero(parity["hpt_onset_roll"])
    starts = notes.onset >= 0
    struck = zip(nearest(notes.onset)[starts], notes.key[starts], strict=True)
    assert sorted(struck) == sorted(zip(frame, key, strict=True))
    held = np.zeros(shape, np.bool_)
    fill(held, nearest(notes.onset), nearest(notes.end) + 1, notes.key, True)
    np.testing.assert_array_equal(held[mask], parity["hpt_frame_roll"][mask] > 0)


def test_pedal_targets_are_those_of_their_authors(parity):
    onset, offset = pedal_frames(window_labels(), HPT_GRID).T
    column = np.zeros(len(onset), np.int64)
    for positions, name in ((onset, "onset"), (offset, "offset")):
        found = published_triangles(positions, column, (1001, 1), 5)[:, 0]
        theirs = parity[f"hpt_reg_pedal_{name}_roll"]
        np.testing.assert_allclose(found[:990], theirs[:990], atol=1e-5)
        assert theirs.max() > 0.9


@pytest.mark.parametrize("program", ["onsets_and_frames", "autoregressive"])
def test_states_are_those_of_their_authors_but_for_what_they_get_wrong(parity, program):
    theirs = parity[f"{program}_label"]
    grid = FrameGrid(16000, 512, len(theirs))
    notes = note_frames(labels_of_performance(performance()), grid, pedal_extends_notes=True)
    states = note_states(notes, grid.n_frames, 1)
    restruck = states == 4
    assert restruck.sum() > 10
    assert not (theirs == 4).any()  # although ten times and more a sounding key is struck
    np.testing.assert_array_equal(np.where(restruck, 3, states), theirs)
    if program == "onsets_and_frames":
        onset = theirs == 3
        ours = velocities(notes, grid.n_frames)
        np.testing.assert_array_equal(ours[onset], parity[f"{program}_velocity"][onset])
