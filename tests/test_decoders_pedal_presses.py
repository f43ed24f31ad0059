"""Presses of the pedal against hand-made cases, and frames cut differently."""

import numpy as np
import pytest

from amtcli.decoders.pedal_presses import PedalPresses

KEY = 40


def heard(values, ends=(), strokes=(), *, peaks=(), cuts=()):
    """Presses in frames; ends and strokes are (time, key), told with the frames they lie in."""
    told = [(at, "sound_ended", key) for at, key in ends]
    told = sorted(told + [(at, "struck", key) for at, key in strokes])
    presses, pedal = [], PedalPresses(0.5)
    for first, stop in zip([0, *cuts], [*cuts, len(values)], strict=True):
        for at, event, key in told:
            if first <= round(at) < stop:
                getattr(pedal, event)(at, key)
        presses += pedal.push([(values[i], i in peaks, 0.25) for i in range(first, stop)])
    return presses + pedal.close()


def pressed(n_frames, *stretches):
    values = np.zeros(n_frames)
    for down, up in stretches:
        values[down:up] = 0.9
    return values.tolist()


def test_a_press_ends_with_its_frames_or_its_offset():
    assert heard(pressed(60, (10, 50))) == [(10, 50.25)]
    assert heard(pressed(60, (10, 50)), peaks=[30]) == [(10, 30.25), (32, 50.25)]
    assert heard(pressed(60, (40, 60))) == [(40, 60)]
    assert heard(pressed(60, (10, 13))) == []


@pytest.mark.parametrize(
    ("ends", "strokes", "expected"),
    [
        ([30.0], [], [(10, 30.0), (30.5, 50.25)]),
        ([30.0, 25.0, 30.25], [], [(10, 25.0), (25.5, 30.0), (30.75, 50.25)]),
        ([30.0], [31.2], [(10, 50.25)]),
        ([30.0], [31.3], [(10, 30.0), (30.5, 50.25)]),
        ([9.75], [], [(10.25, 50.25)]),
        ([9.25, 49.25], [], [(10, 50.25)]),
        ([12.0, 48.0], [], [(12.5, 48.0)]),
    ],
)
def test_a_press_is_divided_where_a_sound_ends_and_nobody_strikes(ends, strokes, expected):
    events = [[(at, KEY) for at in times] for times in (ends, strokes)]
    assert heard(pressed(60, (10, 50)), *events) == expected


def test_a_stroke_takes_the_place_of_an_end_of_its_own_key_only():
    presses = heard(pressed(60, (10, 50)), [(30.0, KEY)], [(30.5, KEY + 1)])
    assert presses == [(10, 30.0), (30.5, 50.25)]


def test_what_is_decided_is_given_before_the_press_is_over():
    pedal = PedalPresses(0.5)
    pedal.sound_ended(30.0, KEY)
    assert pedal.push([(0.9, False, 0.0)] * 32) == []
    assert pedal.push([(0.9, False, 0.0)] * 2) == [(0, 30.0)]


def test_frames_one_by_one_are_the_frames_at_once():
    random = np.random.RandomState(5)
    values = np.convolve(random.rand(3000), np.full(25, 0.04), "same") - 0.02 * random.rand(3000)
    ends = [(at, int(random.randint(3))) for at in 2990 * random.rand(400)]
    strokes = [(at + 2 * random.rand(), key) for at, key in ends[::2]]
    peaks = set(random.randint(0, 3000, 60).tolist())
    at_once = heard(values.tolist(), ends, strokes, peaks=peaks)
    assert len(at_once) > 80
    assert heard(values.tolist(), ends, strokes, peaks=peaks, cuts=range(1, 3000)) == at_once
    assert heard(values.tolist(), ends, strokes, peaks=peaks, cuts=range(7, 3000, 7)) == at_once
