"""Beats from probabilities: the rule said once more in one piece, and cut into windows."""

import numpy as np
import pytest

from amtcli.decoders.beats import BeatActivations, BeatsConfig, BeatsDecoder, decode_beats
from amtcli.notes import DYNAMICS
from amtcli.windows import WindowSpec

RATE_HZ, HOP_SAMPLES, FRAME_S = 1000, 20, 0.02
CONFIG = BeatsConfig(RATE_HZ, HOP_SAMPLES, 0.5, 0.6, 0.9, 3)


def activations(beat, downbeat=(), change=(), n_frames=40):
    """Probabilities at single frames ({frame: probability}), dynamics by frame."""
    rolls = np.zeros((3, n_frames), np.float32)
    for roll, given in zip(rolls, (beat, downbeat, change), strict=True):
        for frame, probability in dict(given).items():
            roll[frame] = probability
    dynamics = np.zeros((n_frames, 5), np.float32)
    dynamics[np.arange(n_frames), np.arange(n_frames) // 10 % 5] = 1
    return BeatActivations(*rolls, dynamics)


def random_activations(n_frames=3000, seed=0):
    """Steps of 0.1, so that neighbours are often equally likely."""
    random = np.random.RandomState(seed)
    rolls = np.round(random.rand(3, n_frames) ** 2, 1).astype(np.float32)
    return BeatActivations(*rolls, random.rand(n_frames, 5).astype(np.float32))


def peaks(roll, threshold):
    """Frames that nothing within three exceeds; successive ones are one, in their middle."""
    found = [
        frame
        for frame in range(len(roll))
        if roll[frame] > threshold and roll[frame] == max(roll[max(frame - 3, 0) : frame + 4])
    ]
    runs = np.split(found, np.flatnonzero(np.diff(found) > 1) + 1)
    return [run for run in runs if len(run)]


def said_once_more(given, config):
    """The authors' rule over a whole recording: (middle, is_downbeat, dynamics, is_change)."""
    runs = peaks(given.beat, config.beat_threshold)
    middles = np.array([run.mean() for run in runs])
    downbeats = [run.mean() for run in peaks(given.downbeat, config.downbeat_threshold)]
    changes = np.flatnonzero(given.change >= config.change_threshold)
    bars = {int(np.argmin(abs(middles - frame))) for frame in downbeats}
    begins = {int(np.argmin(abs(middles - frame))) for frame in changes}
    return [
        (middle, k in bars, DYNAMICS[given.dynamics[run[0]].argmax()], k in begins)
        for k, (run, middle) in enumerate(zip(runs, middles, strict=True))
    ]


def test_a_peak_is_likelier_than_not_and_the_highest_within_three_frames():
    found = decode_beats(
        activations({0: 0.51, 5: 0.7, 8: 0.8, 12: 0.6, 20: 0.5, 30: 0.9, 31: 0.9}), CONFIG
    )
    assert [beat.onset_s for beat in found] == pytest.approx([0.0, 0.16, 0.24, 0.61])
    assert [beat.confidence for beat in found] == pytest.approx([0.51, 0.8, 0.6, 0.9])
    assert [beat.dynamics for beat in found] == ["pp", "pp", "p", "f"]


def test_downbeats_and_changes_move_to_the_next_beat_the_earlier_of_two():
    found = decode_beats(
        activations(
            {10: 0.9, 20: 0.9, 30: 0.9},
            downbeat={2: 0.7, 15: 0.7, 39: 0.6},
            change={24: 0.9, 27: 0.89, 26: 0.95},
        ),
        CONFIG,
    )
    assert [beat.is_downbeat for beat in found] == [True, False, False]
    assert [beat.is_change for beat in found] == [False, True, True]


def test_without_beats_there_are_no_bars():
    assert decode_beats(activations({}, downbeat={4: 1.0}, change={5: 1.0}), CONFIG) == []


@pytest.mark.parametrize("seed", range(5))
def test_beats_are_those_of_the_rule_said_once_more(seed):
    given = random_activations(seed=seed)
    found = decode_beats(given, CONFIG)
    assert len(found) > 250
    rounded = [
        (round(b.onset_s / FRAME_S, 6), b.is_downbeat, b.dynamics, b.is_change) for b in found
    ]
    expected = [(round(m, 6), *rest) for m, *rest in said_once_more(given, CONFIG)]
    assert rounded == expected


@pytest.mark.parametrize(("length", "padding"), [(40, 5), (30, 0), (24, 2)])
def test_windows_give_what_the_whole_gives(length, padding):
    given = random_activations(997)
    hop = 20
    spec = WindowSpec(length * HOP_SAMPLES, hop * HOP_SAMPLES, padding * HOP_SAMPLES)
    rows = given.rows()
    decoder = BeatsDecoder(CONFIG, spec)
    found = []
    for start in range(-padding, len(rows), hop):
        window = np.zeros((length + 1, rows.shape[1]), np.float32)
        inside = slice(max(start, 0), min(start + length + 1, len(rows)))
        window[inside.start - start : inside.stop - start] = rows[inside]
        found += decoder.feed(BeatActivations(*window[:, :3].T, window[:, 3:]))
    assert found + decoder.close() == decode_beats(given, CONFIG)


def test_silence_holds_nothing():
    decoder = BeatsDecoder(CONFIG, WindowSpec(800, 400, 100))
    assert [*decoder.feed(None), *decoder.feed(None), *decoder.close()] == []


def test_a_peak_without_neighbours_is_refused():
    with pytest.raises(ValueError, match="reach_frames"):
        BeatsConfig(RATE_HZ, HOP_SAMPLES, 0.5, 0.5, 0.9, 0)
