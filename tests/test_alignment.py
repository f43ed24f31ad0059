import numpy as np
import pytest
from synthetic_piano import RATE_HZ, piece, sound

from amtcli.alignment import Alignment, Times, align, audio_features, warp_score
from amtcli.errors import AmtError, MidiError
from amtcli.midi_reading import read_performance

LENGTH_S = 60.0
# What instruments differ by, this one and the one of the demo among them.
ERROR_S = 0.01


def features(samples):
    return audio_features(samples, source_rate_hz=RATE_HZ)


def moved(times, move):
    return Times(move(times.onsets_s), move(times.offsets_s), times.pitches)


def between(times, first_s, last_s):
    inside = (times.onsets_s >= first_s) & (times.onsets_s < last_s)
    cut = Times(times.onsets_s[inside], times.offsets_s[inside], times.pitches[inside])
    return moved(cut, lambda t: t - first_s)


@pytest.fixture(scope="module")
def played():
    """A piece and the features of its recording, played as written."""
    times = Times(*piece(LENGTH_S))
    return times, features(sound(times.onsets_s, times.pitches, LENGTH_S))


@pytest.fixture(scope="module")
def demo(demo_audio):
    performance = read_performance(demo_audio.with_suffix(".mid"))
    columns = zip(*((n.onset_s, n.offset_s, n.pitch) for n in performance.notes), strict=True)
    return Times(*map(np.array, columns)), audio_features(demo_audio)


@pytest.mark.parametrize("which", ["played", "demo"])
@pytest.mark.parametrize("bias_s", [0.03, -0.03, 0.2, -0.2, 0.45])
def test_a_bias_is_measured(which, bias_s, request):
    times, audio = request.getfixturevalue(which)
    score = moved(times, lambda t: t - bias_s)
    alignment = align(score, audio)
    heard_s = alignment.heard_at(score.onsets_s)
    assert np.abs(heard_s - times.onsets_s).max() < ERROR_S
    assert alignment.bias_s == pytest.approx(bias_s, abs=ERROR_S)
    assert alignment.confidence == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("drift", [0.001, -0.001, 0.0018])
def test_a_drift_is_measured(played, drift):
    times, audio = played
    score = moved(times, lambda t: t / (1 + drift) - 0.1)
    alignment = align(score, audio)
    assert alignment.drift == pytest.approx(drift, abs=1e-4)
    assert np.abs(alignment.heard_at(score.onsets_s) - times.onsets_s).max() < ERROR_S


def test_a_score_in_time_is_read_where_it_is(played):
    times, audio = played
    np.testing.assert_array_equal(align(times, audio).heard_at(times.onsets_s), times.onsets_s)


def test_wrong_and_missing_notes_do_not_move_a_score(played):
    times, audio = played
    rng = np.random.default_rng(1)
    kept = rng.random(len(times.onsets_s)) < 0.7
    pitches = np.where(rng.random(len(kept)) < 0.1, times.pitches + 1, times.pitches)[kept]
    onsets_s = (times.onsets_s + 0.02 * rng.standard_normal(len(kept)))[kept] + 0.15
    alignment = align(Times(onsets_s, onsets_s + 0.3, pitches), audio)
    assert alignment.bias_s == pytest.approx(-0.15, abs=0.015)


@pytest.mark.parametrize(
    ("move", "message"),
    [
        (
            lambda t: t - 0.3 - 2.0,
            r"the recording lies 2\.(29|30) s behind the score \(up to 0\.50 s",
        ),
        (lambda t: t + 0.4 + 3.0, r"the recording lies 3\.4[01] s ahead of the score"),
        (
            lambda t: t / 1.004,
            r"the recording is 0\.4\d% slower than the score, 0\.2\d s at its end",
        ),
        (lambda t: t / 0.997, r"the recording is 0\.3\d% faster"),
    ],
)
def test_what_is_too_far_is_an_error_that_says_how_far(played, move, message):
    times, audio = played
    shorter = between(times, 3.0, 54.0)
    with pytest.raises(AmtError, match=message):
        align(moved(shorter, lambda t: move(t + 3.0)), audio)


def test_a_wrong_file_is_an_error(played, demo):
    times, audio = played
    demo_times, demo_audio = demo
    for score, recording in ((demo_times, audio), (between(times, 0, 40), demo_audio)):
        with pytest.raises(AmtError, match=r"do not correlate .* is it the right recording"):
            align(score, recording)
        with pytest.raises(AmtError, match=r"are not alike .* is it the right recording"):
            warp_score(score, recording)


def test_a_score_that_is_partly_in_time_is_an_error_that_says_how_much_and_how_far(played):
    times, audio = played
    late = (times.onsets_s > 20) & (times.onsets_s < 40)
    score = moved(times, lambda t: t + np.where(late, 0.08, 0.0))
    with pytest.raises(AmtError, match=r"only 6\d% of the score is in time .* up to [78]\d ms off"):
        align(score, audio)
    warped_s = warp_score(score, audio).heard_at(score.onsets_s)
    assert np.percentile(np.abs(warped_s - times.onsets_s), 90) < 0.03


def test_an_empty_score_is_an_error(played):
    empty = Times(np.zeros(0), np.zeros(0), np.zeros(0, int))
    for place in (align, warp_score):
        with pytest.raises(MidiError, match="the score has no notes"):
            place(empty, played[1])


def test_a_longer_score_is_an_error_that_says_by_how_much(played):
    times, _ = played
    audio = features(sound(times.onsets_s, times.pitches, LENGTH_S)[: 40 * RATE_HZ])
    last_s = times.onsets_s.max()
    message = rf"longer than the recording: its last note begins at {last_s:.1f} s.* ends at 40.0 s"
    with pytest.raises(AmtError, match=message):
        align(times, audio)


def test_a_last_note_beyond_the_end_is_found_after_the_shift(played):
    times, _ = played
    last_s = times.onsets_s.max()
    audio = features(sound(times.onsets_s, times.pitches, LENGTH_S)[: round(last_s * RATE_HZ)])
    score = moved(times, lambda t: t - 0.4)
    assert align(score, audio).bias_s == pytest.approx(0.4, abs=ERROR_S)
    cut = features(
        sound(times.onsets_s, times.pitches, LENGTH_S)[: round((last_s - 0.2) * RATE_HZ)]
    )
    with pytest.raises(AmtError, match="longer than the recording"):
        align(score, cut)


def test_a_short_score_is_taken_as_it_stands(played):
    times, audio = played
    assert align(between(times, 0, 8), audio) == Alignment(0.0, 0.0, None)


def test_tempo_changes_are_followed_when_asked(played):
    times, audio = played
    # The score's time over the recording's: 0.6 to 1.4 as fast, changing every 10 s.
    knots_s = np.arange(0, 71, 10.0)
    speeds = [1.0, 0.6, 1.4, 0.7, 1.2, 0.8, 0.7]
    in_score_s = np.concatenate([[0], np.cumsum(10 * np.array(speeds))])
    score = moved(times, lambda t: np.interp(t, knots_s, in_score_s))
    with pytest.raises(AmtError, match="--align"):
        align(score, audio)
    warp = warp_score(score, audio)
    errors_s = np.abs(warp.heard_at(score.onsets_s) - times.onsets_s)
    assert np.median(errors_s) < 0.02
    assert np.percentile(errors_s, 95) < 0.06
    assert (np.diff(warp.audio_s) >= 0).all()
    assert (np.diff(warp.score_s) > 0).all()


def test_silence_around_the_music_is_no_part_of_the_warp(played):
    times, _ = played
    music = sound(times.onsets_s, times.pitches, LENGTH_S)
    silence = 1e-4 * np.random.default_rng(0).standard_normal(5 * RATE_HZ).astype(np.float32)
    audio = features(np.concatenate([silence, music, silence]))
    score = moved(times, lambda t: 0.8 * t)
    errors_s = np.abs(warp_score(score, audio).heard_at(score.onsets_s) - times.onsets_s - 5)
    assert np.percentile(errors_s, 95) < 0.06


@pytest.mark.parametrize("lead_s", [0.3, 0.73, 2.5])
@pytest.mark.parametrize("slower", [1.0, 1.25])
def test_a_score_that_begins_at_once_is_heard_when_the_recording_begins(lead_s, slower):
    times = moved(Times(*piece(14.0, seed=4)), lambda t: t - 0.5)
    played = moved(times, lambda t: slower * t + lead_s)
    audio = features(sound(played.onsets_s, played.pitches, 14 * slower + 4))
    errors_s = warp_score(times, audio).heard_at(times.onsets_s) - played.onsets_s
    assert times.onsets_s[0] == 0
    assert np.abs(errors_s[[0, 1, -2, -1]]).max() < 0.06


@pytest.mark.parametrize(("written_s", "held_s"), [(2, 1), (2, 6), (0.3, 6), (8, 1)])
def test_a_last_chord_may_ring_as_long_as_it_will(written_s, held_s):
    times, slower = Times(*piece(25.0)), 1.1
    chord, last_s = np.array([36, 48, 52, 55]), times.onsets_s.max() + 0.5
    score = Times(
        np.append(times.onsets_s, np.full(4, last_s)),
        np.append(times.offsets_s, np.full(4, last_s + written_s)),
        np.append(times.pitches, chord),
    )
    music = sound(slower * times.onsets_s, times.pitches, 36.0)
    music += sound(np.full(4, slower * last_s), chord, 36.0, held_s=held_s, fading_per_s=0.7)
    errors_s = warp_score(score, features(music)).heard_at(score.onsets_s) - slower * score.onsets_s
    assert np.abs(errors_s[-5:]).max() < 0.04


@pytest.mark.parametrize("slower", [0.8, 1.25])
def test_a_thin_opening_before_full_chords_is_music(slower):
    rng = np.random.default_rng(0)
    melody_s, chords_s = np.arange(0, 10, 0.5), np.arange(10, 30, 0.5)
    pitches = [rng.choice([60, 62, 64, 65, 67, 69, 72], 1) for _ in melody_s]
    pitches += [rng.choice(np.arange(40, 80), 5, replace=False) for _ in chords_s]
    onsets_s = np.append(melody_s, np.repeat(chords_s, 5))
    score = Times(onsets_s, onsets_s + np.where(onsets_s < 10, 0.5, 1.0), np.concatenate(pitches))
    played_s = slower * onsets_s + 1
    audio = features(sound(played_s, score.pitches, 30 * slower + 4))
    errors_s = warp_score(score, audio).heard_at(onsets_s) - played_s
    assert np.abs(errors_s[: len(melody_s)]).max() < 0.045


def test_time_runs_evenly_beyond_the_ends_of_a_warp(played):
    times, audio = played
    warp = warp_score(times, audio)
    edges_s = np.array([warp.score_s[0] - 0.5, warp.score_s[-1] + 0.25])
    np.testing.assert_allclose(
        warp.heard_at(edges_s), [warp.audio_s[0] - 0.5, warp.audio_s[-1] + 0.25]
    )
