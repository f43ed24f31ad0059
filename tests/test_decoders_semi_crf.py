"""The decoder against hand-made cases, and its search against a plain dynamic programme."""

import numpy as np
import pytest

from amtcli.decoders.semi_crf import (
    SYMBOLS,
    Intervals,
    SemiCrfConfig,
    SemiCrfDecoder,
    best_path,
)
from amtcli.notes import Note, PedalSpan
from amtcli.windows import WindowSpec

RATE_HZ, HOP = 100, 10  # frames of 0.1 s
WINDOW = WindowSpec(length_samples=200, hop_samples=100, padding_samples=100)
LAST_FRAME = 20  # what the window's length is in frames
C4 = SYMBOLS.index(60)


def full_table_path(scores, start):
    """Viterbi over the whole table of scores[end, begin], written out frame by frame."""
    n = len(scores)
    value = np.zeros(n)
    choice = [None] * n
    value[n - 1] = max(0.0, scores[n - 1, n - 1])
    for t in range(n - 2, -1, -1):
        best = value[t + 1]
        for end in range(t + 1, n):
            if value[end] + scores[end, t] > best:
                best, choice[t] = value[end] + scores[end, t], end
        value[t] = best + max(0.0, scores[t, t])
    path, t = [], start
    while t < n:
        if scores[t, t] > 0:
            path.append((t, t))
        if choice[t] is None:
            t += 1
        else:
            path.append((t, choice[t]))
            t = choice[t]
    return path


@pytest.mark.parametrize("seed", range(40))
def test_sparse_search_finds_the_path_of_the_full_table(seed):
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 40))
    scores = random.normal(-1.0, 1.5, (n, n)).astype(np.float32)
    if seed % 2:
        scores = np.round(scores)  # many ties
    end, begin = np.nonzero(np.tril(scores) > 0)
    order = random.permutation(len(end))
    end, begin = end[order], begin[order]
    start = int(random.integers(0, n))
    chosen = best_path(begin, end, scores[end, begin], start)
    assert [(int(begin[i]), int(end[i])) for i in chosen] == full_table_path(scores, start)


def intervals(*rows):
    """Rows of (symbol, begin, end, score[, velocity, has_onset, has_offset])."""
    rows = [tuple(row) + (64, False, False)[len(row) - 4 :] for row in rows]
    columns = [np.array(column) for column in zip(*rows, strict=True)]
    symbol, begin, end, score, velocity, has_onset, has_offset = columns
    shifts = np.zeros((2, len(rows)), np.float32)
    return Intervals(
        symbol, begin, end, score.astype(np.float32), velocity, *shifts, has_onset, has_offset
    )


def decode(*windows):
    decoder = SemiCrfDecoder(SemiCrfConfig(RATE_HZ, HOP), WINDOW)
    fed = [decoder.feed(window) for window in windows]
    return [event for events in [*fed, decoder.close()] for event in events]


def times(events):
    return [(round(e.onset_s, 6), round(e.offset_s, 6)) for e in events]


def test_a_note_comes_out_at_its_frames_and_shifts():
    found = intervals((C4, 12, 15, 2.0, 80))
    found.onset_shift[:], found.offset_shift[:] = 0.25, -0.5
    (note,) = decode(found)
    # window 0 starts at -1 s: frame 12.25 is 0.225 s, frame 14.5 is 0.45 s
    assert note == Note(pytest.approx(0.225), pytest.approx(0.45), 60, 80, 0.880797)
    # 0.880797 = 1 / (1 + exp(-2))


def test_the_first_window_does_not_decode_its_padding():
    assert decode(intervals((C4, 2, 9, 5.0), (C4, 11, 13, 1.0))) != []
    assert times(decode(intervals((C4, 2, 9, 5.0), (C4, 11, 13, 1.0)))) == [(0.1, 0.3)]


def test_a_pedal_keeps_its_controller():
    (span,) = decode(intervals((0, 11, 14, 1.0, 127)))
    assert span == PedalSpan(pytest.approx(0.1), pytest.approx(0.4), 64, 127)


def test_a_note_over_the_seam_is_decoded_anew_in_the_next_window():
    # Window 0 ends at 1 s with the note still held; window 1 starts at 0 s and sees its end.
    first = intervals((C4, 15, 20, 3.0))
    second = intervals((C4, 5, 13, 3.0))
    assert times(decode(first, second)) == [(0.5, 1.3)]


def test_a_held_note_is_extended_by_windows_that_see_no_onset():
    first = intervals((C4, 15, 20, 3.0))
    second = intervals((C4, 0, 20, 3.0))  # holds through the whole window
    third = intervals((C4, 0, 14, 3.0))
    assert times(decode(first, second, third)) == [(0.5, 2.4)]


def test_a_closed_note_is_not_decoded_twice():
    # It ends at frame 15 of window 0, which is frame 5 of window 1, where decoding starts.
    first = intervals((C4, 12, 15, 3.0))
    second = intervals((C4, 2, 5, 3.0), (C4, 7, 9, 1.0))
    assert times(decode(first, second)) == [(0.2, 0.5), (0.7, 0.9)]


def test_an_end_without_its_beginning_is_dropped():
    assert decode(None, intervals((C4, 0, 4, 3.0))) == []


def test_presence_bits_decide_at_the_edges():
    assert times(decode(None, intervals((C4, 0, 4, 3.0, 64, True)))) == [(0.0, 0.4)]
    closed = intervals((C4, 15, LAST_FRAME, 3.0, 64, False, True))
    again = intervals((C4, 12, 14, 1.0))  # were it still open, this would not follow it
    assert times(decode(closed, again)) == [(0.5, 1.0), (1.2, 1.4)]


def test_an_event_still_open_at_the_end_is_closed_there():
    assert times(decode(intervals((C4, 15, LAST_FRAME, 3.0)))) == [(0.5, 1.0)]


def test_velocity_zero_is_raised_to_one_because_midi_would_read_it_as_a_release():
    assert [n.velocity for n in decode(intervals((C4, 12, 14, 1.0, 0)))] == [1]


def test_events_come_out_as_soon_as_no_later_window_can_change_them():
    decoder = SemiCrfDecoder(SemiCrfConfig(RATE_HZ, HOP), WINDOW)
    # Window 0 shows -1 s to 1 s, and the next one starts at 0 s: nothing is settled yet.
    assert decoder.feed(intervals((C4, 12, 13, 2.0), (C4, 15, 16, 2.0))) == []
    # The one after starts at 1 s: the first note is settled, the last of a key never is.
    assert times(decoder.feed(None)) == [(0.2, 0.3)]
    assert times(decoder.close()) == [(0.5, 0.6)]


def test_a_replaced_event_that_reaches_back_shortens_the_one_before():
    # Window 1 moves the last note's onset back over the end of the first.
    first = intervals((C4, 11, 16, 3.0), (C4, 17, 20, 3.0))
    second = intervals((C4, 6, 12, 3.0))
    # carry: the first note was closed at frame 16, so window 1 decodes from frame 6 on
    second.onset_shift[:] = -0.5
    assert times(decode(first, second)) == [(0.1, 0.55), (0.55, 1.2)]
