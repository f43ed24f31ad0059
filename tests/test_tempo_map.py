"""Files with beats: where readers find quarters and bars, and that no note has moved."""

import io
from dataclasses import dataclass, replace
from itertools import pairwise

import mido
import numpy as np
import pytest

from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.notes import Beat, Note, PedalSpan, Performance
from amtcli.tempo_map import tempo_map

HALF_TICK_S = 0.5209e-3  # of the longest ticks that there are: 480 in half a second
END_S = 3 * 3600.0


def beats_at(times_s, downbeats=()):
    """Beats, of which those with an index in ``downbeats`` are downbeats."""
    wanted = set(downbeats)
    return tuple(Beat(float(time_s), i in wanted) for i, time_s in enumerate(times_s))


def write(beats, notes=(), pedals=()):
    return performance_to_midi_bytes(Performance(tuple(notes), tuple(pedals), tuple(beats)))


def events(data):
    """Triples (quarters from the start, seconds, message) by mido's own clock."""
    midi = mido.MidiFile(file=io.BytesIO(data))
    tick, time_s, quarter_us = 0, 0.0, 500_000
    for message in mido.merge_tracks(midi.tracks):
        tick += message.time
        time_s += mido.tick2second(message.time, midi.ticks_per_beat, quarter_us)
        if message.type == "set_tempo":
            quarter_us = message.tempo
        yield tick / midi.ticks_per_beat, time_s, message


def meters(beats):
    """Pairs (quarter, quarters per bar) as a file has them."""
    found = [
        (quarter, message.numerator, message.denominator)
        for quarter, _, message in events(write(beats))
        if message.type == "time_signature"
    ]
    assert {denominator for _, _, denominator in found} == {4}
    return [(quarter, numerator) for quarter, numerator, _ in found]


def quarters_of(beats):
    """The quarter with which each beat begins, as a note on it is written."""
    data = write(beats, (Note(beat.onset_s, beat.onset_s + 0.05, 60, 64) for beat in beats))
    return [quarter for quarter, _, message in events(data) if message.type == "note_on"]


def place(span):
    """What orders spans by key or pedal, and both of its times."""
    number = span.pitch if isinstance(span, Note) else span.controller
    return number, span.onset_s, span.offset_s


def quarter_lengths_us(beats, tempo_bpm=120.0):
    return tempo_map(beats, tempo_bpm).quarters_us


def wandering(rng):
    lengths_s = 0.6 * np.exp(np.cumsum(rng.normal(0, 0.05, 30_000)))
    return rng.uniform(0, 3) + np.cumsum(np.clip(lengths_s, 0.2, 3.0))


# Each takes random numbers and gives the times of beats in seconds.
BEAT_TIMES = {
    "wandering": wandering,
    "any": lambda rng: np.cumsum(rng.uniform(0.2, 2.5, 9000)),
    "accelerating": lambda rng: rng.uniform(0, 1) + np.cumsum(np.geomspace(9.0, 0.15, 3000)),
    "0.2 s": lambda rng: 0.1 + 0.2 * np.arange(60_000),
    "a third": lambda rng: np.arange(1, 40_000) / 3,
    "4 s": lambda rng: 3.0 + 4.0 * np.arange(2700),
    "20 s": lambda rng: 20.0 * np.arange(600),
    "first at 0": lambda rng: np.cumsum([0.0, *rng.uniform(0.3, 1.2, 5000)]),
    "first after 400 s": lambda rng: 400 + np.cumsum(rng.uniform(0.3, 1.2, 5000)),
    "first after 7 ms": lambda rng: 0.007 + np.cumsum([0.0, *rng.uniform(0.3, 1.2, 99)]),
    "a pause": lambda rng: np.cumsum([0.5] * 50 + [15.0] + [0.5] * 50),
}
RANDOM = ("wandering", "any")
CASES = [(kind, seed) for kind in BEAT_TIMES for seed in range(2 if kind in RANDOM else 1)]


@dataclass(frozen=True)
class Recording:
    """Three hours: something is played all the time, and a note of pitch 10 on each beat."""

    performance: Performance
    data: bytes
    events: list


@pytest.fixture(scope="module", params=CASES, ids=str)
def recording(request):
    kind, seed = request.param
    rng = np.random.default_rng(seed)
    beats_s = BEAT_TIMES[kind](rng)
    beats_s = beats_s[beats_s < END_S]
    onsets_s = np.sort(rng.uniform(0, END_S, 3000))  # of one key every 300 s: none overlap
    notes = [Note(t, t + rng.uniform(0.05, 2), 21 + i % 88, 64) for i, t in enumerate(onsets_s)]
    notes += [Note(t, t + 0.1, 10, 64) for t in beats_s]
    pedals = [PedalSpan(t, t + rng.uniform(0.1, 9), 64) for t in np.arange(0.7, END_S, 9.7)]
    performance = Performance(tuple(notes), tuple(pedals), beats_at(beats_s))
    data = performance_to_midi_bytes(performance)
    return Recording(performance, data, list(events(data)))


def test_no_note_and_no_pedal_moves(recording):
    meant, heard = recording.performance, read_performance(io.BytesIO(recording.data))
    for wanted, found in ((meant.notes, heard.notes), (meant.pedals, heard.pedals)):
        wanted_s, found_s = (np.array(sorted(map(place, spans))) for spans in (wanted, found))
        assert np.abs(found_s - wanted_s).max() <= HALF_TICK_S


def test_another_reader_finds_the_same_seconds(recording):
    found_s = [time_s for _, time_s, message in recording.events if message.type == "note_on"]
    wanted_s = np.sort([note.onset_s for note in recording.performance.notes])
    assert np.abs(found_s - wanted_s).max() <= HALF_TICK_S


def test_each_beat_begins_a_quarter_on_its_microsecond(recording):
    quarters, times_s = np.array(
        [
            (quarter, time_s)
            for quarter, time_s, message in recording.events
            if message.type == "note_on" and message.note == 10
        ]
    ).T
    assert (quarters % 1 == 0).all() and (np.diff(quarters) >= 1).all()
    wanted_s = [beat.onset_s for beat in recording.performance.beats]
    assert np.abs(times_s - wanted_s).max() < 0.6e-6


def test_no_tick_is_longer_than_at_120_bpm(recording):
    tempi = [message.tempo for _, _, message in recording.events if message.type == "set_tempo"]
    ticks_per_quarter = int.from_bytes(recording.data[12:14], "big")
    assert max(tempi) / ticks_per_quarter <= 500_000 / 480
    assert ticks_per_quarter < 2**15


@pytest.mark.parametrize("seed", range(6))
def test_pretty_midi_finds_the_same_beats_and_downbeats(seed):
    pretty_midi = pytest.importorskip("pretty_midi")
    rng = np.random.default_rng(seed)
    # It takes meters of 6 and 9 quarters for compound ones, of 2 and 3 beats.
    sizes = rng.choice([2, 3, 4, 5, 7], 40, p=[0.1, 0.4, 0.3, 0.1, 0.1])
    downbeats = np.cumsum([0, *sizes])
    n_beats = downbeats[-1] + 1
    times_s = np.cumsum([rng.uniform(0, 3), *rng.uniform(0.3, 1.0, n_beats - 1)])
    beats = beats_at(times_s, downbeats)
    data = write(beats, (Note(t, t + 0.1, 60, 64) for t in times_s))
    read = pretty_midi.PrettyMIDI(io.BytesIO(data))
    found_s, found_downbeats_s = (
        found[found > times_s[0] - 1e-3] for found in (read.get_beats(), read.get_downbeats())
    )
    assert found_s == pytest.approx(times_s, abs=1e-5)
    assert found_downbeats_s == pytest.approx(times_s[downbeats], abs=1e-5)


@pytest.mark.parametrize("seed", range(6))
def test_each_downbeat_begins_a_bar_and_no_other_beat_between_them_does(seed):
    rng = np.random.default_rng(seed)
    downbeats = np.cumsum(rng.choice([1, 2, 3, 3, 3, 4, 6, 9, 300], 200))
    beats = beats_at(rng.uniform(0, 9) + 0.7 * np.arange(downbeats[-1] + 5), downbeats)
    lead_in = quarters_of(beats[:2])[0]
    wanted = downbeats + lead_in
    found = meters(beats)
    ends = [start for start, _ in found[1:]] + [wanted[-1] + 1]
    lines = np.concatenate([np.arange(a, b, n) for (a, n), b in zip(found, ends, strict=True)])
    assert set(wanted) <= set(lines)
    in_long_bars = {line + 255 for line in wanted}
    assert set(lines[lines > wanted[0]]) - set(wanted) <= in_long_bars
    assert all(a != b for (_, a), (_, b) in pairwise(found))
    assert all((b - a) % n == 0 for (a, n), (b, _) in pairwise(found))


@pytest.mark.parametrize(
    ("first_s", "downbeats", "expected"),
    [
        (0.0, (), [(0, 4)]),
        (5.0, (), [(0, 4)]),
        (0.0, (0, 3, 6), [(0, 3)]),
        (0.0, (0, 3, 7, 11, 14), [(0, 3), (3, 4), (11, 3)]),
        (0.0, (2, 5, 8), [(0, 2), (2, 3)]),  # a pickup of two beats
        (0.0, (3, 6), [(0, 3)]),  # a whole bar before the first downbeat that is known
        (0.5, (0, 4), [(0, 1), (1, 4)]),  # a quarter before the first beat
        (2.0, (1, 4, 7), [(0, 2), (2, 3)]),  # four of them and a pickup of one
        (2.5, (1, 4, 8), [(0, 3), (9, 4)]),
        (0.0, (0,), [(0, 4)]),
        (0.0, (5,), [(0, 1), (1, 4)]),
        (0.0, (0, 13), [(0, 13)]),
    ],
)
def test_meters(first_s, downbeats, expected):
    assert meters(beats_at(first_s + 0.5 * np.arange(20), downbeats)) == expected


def test_a_bar_of_more_quarters_than_a_file_can_state_is_divided():
    beats = beats_at(0.5 * np.arange(700), (0, 3, 303, 306, 606))
    assert meters(beats) == [(0, 3), (3, 255), (258, 45), (303, 3), (306, 255), (561, 45)]


@pytest.mark.parametrize(
    ("times_s", "expected_us"),
    [
        ((0.0, 0.5, 1.25), (500_000, 750_000, 750_000)),
        ((1.4, 2.4), (1_400_000, 1_000_000, 1_000_000)),
        ((1.6, 2.6), (800_000, 800_000, 1_000_000, 1_000_000)),
        ((0.1, 1.1), (100_000, 1_000_000, 1_000_000)),
        ((0.0, 4.0), (4_000_000, 4_000_000)),
        ((0.0, 4.000002), (2_000_001, 2_000_001, 2_000_001)),
        ((0.0, 1.0, 11.0), (1_000_000, 3_333_333, 3_333_333, 3_333_334, 3_333_334)),
        # the quarters before 9 s take their length from half of the 6 s behind
        ((9.0, 15.0), (3_000_000,) * 6),
        # one before 5 s would be nearest, but is too long
        ((5.0, 8.9), (2_500_000, 2_500_000, 3_900_000, 3_900_000)),
    ],
)
def test_lengths_of_quarters(times_s, expected_us):
    assert quarter_lengths_us(beats_at(times_s)) == expected_us


def test_no_error_adds_up_though_tempi_are_whole_microseconds():
    # a seventh of a second is 142,857.14 us: in three hours the fraction makes 11 ms
    beats = beats_at(np.arange(75_600) / 7)
    lengths_us = quarter_lengths_us(beats)
    assert set(lengths_us) == {142_857, 142_858}
    assert sum(lengths_us[:-1]) == round(75_599 / 7 * 1e6)


def test_beats_may_come_in_any_order_and_twice():
    beats = beats_at((0.5, 1.0, 1.5, 2.0, 2.5), (0, 3))
    rng = np.random.default_rng(0)
    for _ in range(5):
        shuffled = [beats[i] for i in rng.permutation(5)]
        assert tempo_map(shuffled, 120.0) == tempo_map(beats, 120.0)
    # 59 ms apart is one beat, a downbeat if either is
    plain = [replace(beat, is_downbeat=False) for beat in beats]
    twice = [*plain, *beats, *(moved(beat, 0.059) for beat in plain)]
    assert tempo_map(twice, 120.0) == tempo_map(beats, 120.0)
    assert tempo_map((*beats, moved(beats[4], 0.06)), 120.0) != tempo_map(beats, 120.0)
    assert tempo_map((moved(beats[0], -0.6), *beats[1:]), 120.0).starts_us[:2] == (0, 1_000_000)


def moved(beat, by_s):
    return replace(beat, onset_s=beat.onset_s + by_s)


def test_float32_times_keep_their_value():
    beats = (Beat(np.float32(4321.1234)), Beat(np.float32(4322.5)))  # 4321.12353515625 s
    assert 4_321_123_535 in tempo_map(beats, 120.0).starts_us


def test_beats_win_over_the_tempo_where_there_are_two():
    one, two = beats_at((0.0,)), beats_at((0.0, 0.75))
    assert quarter_lengths_us((), 60.0) == quarter_lengths_us(one, 60.0) == (1_000_000,)
    assert quarter_lengths_us((*one, *one), 60.0) == (1_000_000,)
    assert quarter_lengths_us(two, 60.0) == (750_000, 750_000)
    notes = (Note(1.0, 2.0, 60, 64),)
    assert write(two, notes) == performance_to_midi_bytes(
        Performance(notes, beats=two), tempo_bpm=33
    )


def test_a_tempo_is_written_only_where_it_changes():
    data = write(beats_at((0.0, 0.5, 1.0, 1.5, 2.5, 3.0)))
    assert [
        (quarter, message.tempo)
        for quarter, _, message in events(data)
        if message.type == "set_tempo"
    ] == [(0, 500_000), (3, 1_000_000), (4, 500_000)]
