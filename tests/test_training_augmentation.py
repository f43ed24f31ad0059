"""Augmentation: what is heard moves as its labels do, and nothing else moves."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.errors import ModelError
from amtcli.tables import from_table
from amtcli.training import augmentation
from amtcli.training.augmentation import (
    Alteration,
    AugmentationConfig,
    apply_to_audio,
    apply_to_labels,
    draw_alteration,
)
from amtcli.training.augmentation.band_masks import BandMask
from amtcli.training.augmentation.equaliser import Equaliser
from amtcli.training.augmentation.lateness import Lateness
from amtcli.training.augmentation.noise import Noise
from amtcli.training.augmentation.recorder import Recorder
from amtcli.training.augmentation.room import Room

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

RATE_HZ = 16_000
N_SAMPLES = 48_000
ALWAYS_LATE = {"probability": 1.0, "distance_m": [3.43, 3.43], "softest_s": [0.02, 0.02]}


def table():
    """The table that the package's docstring shows."""
    text = augmentation.__doc__.split("::", 1)[1]
    return tomllib.loads("\n".join(line.strip() for line in text.splitlines()))["augmentation"]


def config(**changes):
    """The documented configuration with every part of this probability, and with changes."""
    parts = {name: dict(part) for name, part in table().items()}
    probability = changes.pop("probability", 1.0)
    for name, part in parts.items():
        part.update({"probability": probability, **changes.get(name, {})})
    return from_table(AugmentationConfig, parts, "augmentation", Path("recipe.toml"))


def drawn(n_draws=200, **changes):
    settings = config(**changes)
    return [
        draw_alteration(settings, np.random.default_rng(seed), N_SAMPLES, RATE_HZ)
        for seed in range(n_draws)
    ]


def music(n_samples=2 * N_SAMPLES):
    return np.random.default_rng(5).standard_normal(n_samples, dtype=np.float32) * np.float32(0.1)


def tone(frequency_hz, n_samples):
    return np.sin(2 * np.pi * frequency_hz * np.arange(n_samples) / RATE_HZ).astype(np.float32)


def impulse(at_samples=12_345):
    audio = np.zeros(N_SAMPLES, np.float32)
    audio[at_samples] = 1.0
    return audio


def peak_hz(audio):
    """Frequency of the strongest sinusoid, by a parabola through the peak's logarithms."""
    n_fft = 8 * len(audio)
    spectrum = np.log(np.abs(np.fft.rfft(audio * np.hanning(len(audio)), n_fft)) + 1e-12)
    k = int(np.argmax(spectrum))
    left, centre, right = spectrum[k - 1 : k + 2]
    return (k + (left - right) / (2 * (left - 2 * centre + right))) * RATE_HZ / n_fft


def labels(pitches=(60,), onset_s=1.0):
    n = len(pitches)
    notes = NoteLabels(
        np.full(n, onset_s),
        np.full(n, onset_s + 0.5),
        np.full(n, onset_s + 1.5),
        np.array(pitches, np.int16),
        np.arange(40, 40 + n, dtype=np.int16),
    )
    pedals = PedalLabels(
        np.array([1.2]), np.array([2.5]), np.array([64], np.int16), np.array([90], np.int16)
    )
    beats = BeatLabels(np.array([0.5, 1.5]), np.array([True, False]), np.array([-1, 2], np.int8))
    return Labels(notes, pedals, beats)


def test_the_documented_table_is_complete_and_checked():
    assert config().speed.transpose_semitones == 2
    wrong = table()
    wrong["room"]["decay"] = wrong["room"].pop("decay_s")
    with pytest.raises(ModelError, match=r"unknown key 'decay' in \[augmentation.room\].*decay_s"):
        from_table(AugmentationConfig, wrong, "augmentation", Path("recipe.toml"))


@pytest.mark.parametrize(
    ("part", "key", "value", "words"),
    [
        ("gain", "gain_db", [3.0, -3.0], "lower end first"),
        ("noise", "probability", 1.5, "from 0"),
        ("speed", "detune_cents", 60.0, "within 0 and 49"),
        ("room", "decay_s", [0.0, 1.0], "within 0.05 and 10"),
        ("recorder", "compression_ratio", [0.5, 2.0], "within 1 and 20"),
    ],
)
def test_a_range_that_makes_no_sense_is_named(part, key, value, words):
    with pytest.raises(ModelError, match=f"{part}.*{key}.*{words}"):
        config(**{part: {key: value}})


def test_nothing_drawn_changes_nothing():
    audio, known = music(N_SAMPLES), labels()
    for alteration in drawn(3, probability=0.0):
        assert alteration == Alteration(N_SAMPLES)
        assert alteration.source_samples(N_SAMPLES) == N_SAMPLES
        assert np.array_equal(apply_to_audio(alteration, audio, RATE_HZ), audio)
        assert apply_to_labels(alteration, known) is known


def test_the_same_rng_gives_the_same_bytes_and_leaves_its_input_alone():
    audio = music()
    kept = audio.copy()
    results = []
    for seed in (1, 1, 2):
        alteration = draw_alteration(config(), np.random.default_rng(seed), N_SAMPLES, RATE_HZ)
        source = audio[: alteration.source_samples(N_SAMPLES)]
        results.append(apply_to_audio(alteration, source, RATE_HZ))
    assert [(len(x), x.dtype) for x in results] == [(N_SAMPLES, np.float32)] * 3
    assert results[0].tobytes() == results[1].tobytes() != results[2].tobytes()
    assert np.array_equal(audio, kept)


def test_a_part_draws_the_same_whatever_the_others_do():
    for full, part in zip(drawn(10), drawn(10, noise={"probability": 0.0}), strict=True):
        assert full.noise is not None
        assert part == dataclasses.replace(full, noise=None)


def test_draws_fill_their_ranges_and_keep_to_them():
    alterations = drawn()
    semitones = np.array([12 * math.log2(a.speed) for a in alterations])
    assert set(np.round(semitones)) == {-2, -1, 0, 1, 2}
    cents = 100 * (semitones - np.round(semitones))
    assert -20 <= cents.min() < -15 and 15 < cents.max() <= 20
    for values, low, high in [
        ([a.gain_db for a in alterations], -10, 10),
        ([a.room.decay_s for a in alterations], 0.25, 1.4),
        ([a.room.direct_to_reverberant_db for a in alterations], -6, 10),
        ([a.noise.snr_db for a in alterations], 28, 55),
        ([a.recorder.low_pass_hz for a in alterations], 3500, 8000),
    ]:
        margin = (high - low) / 10
        assert low <= min(values) < low + margin and high - margin < max(values) <= high
    gains_db = np.array([a.equaliser.gains_db for a in drawn(equaliser={"tilt_db_per_octave": 0})])
    # One of nine degrees of freedom goes with the mean, which is taken out.
    assert gains_db.std() == pytest.approx(5.0 * math.sqrt(8 / 9), rel=0.05)
    assert {len(a.band_masks) for a in alterations} == {1, 2}


def test_a_part_happens_as_often_as_its_probability_says():
    n_rooms = sum(a.room is not None for a in drawn(400, probability=0.25))
    assert 70 <= n_rooms <= 130


@pytest.mark.parametrize("cents", [200, -200, 100, 15, -20])
def test_a_tone_moves_to_the_pitch_and_time_of_its_label(cents):
    speed = 2 ** (cents / 1200)
    alteration = Alteration(N_SAMPLES, speed=speed)
    n_source = alteration.source_samples(N_SAMPLES)
    n_onset = 16_000  # at the label's 1.0 s
    source = np.zeros(n_source, np.float32)
    source[n_onset:] = tone(440.0, n_source - n_onset)
    altered = apply_to_audio(alteration, source, RATE_HZ)
    assert altered.shape == (N_SAMPLES,)

    moved = apply_to_labels(alteration, labels((69,)))
    onset_s = moved.notes.onset_s[0]
    assert onset_s == pytest.approx(1.0 / speed)
    assert moved.notes.pitch[0] == 69 + round(cents / 100)
    assert moved.notes.offset_s[0] == pytest.approx(1.5 / speed)
    assert moved.notes.sounding_end_s[0] == pytest.approx(2.5 / speed)
    assert moved.pedals.offset_s[0] == pytest.approx(2.5 / speed)
    assert moved.beats.time_s[1] == pytest.approx(1.5 / speed)

    assert peak_hz(altered[20_000:]) == pytest.approx(440.0 * speed, rel=2e-5)
    heard_s = np.argmax(np.abs(altered) > 0.3) / RATE_HZ
    assert heard_s == pytest.approx(onset_s, abs=0.5e-3)


def test_speed_reaches_the_last_sample_without_drift():
    alteration = Alteration(N_SAMPLES, speed=2 ** (-1.23 / 12))
    n_source = alteration.source_samples(N_SAMPLES)
    times = np.arange(n_source) / RATE_HZ
    altered = apply_to_audio(alteration, np.sin(2 * np.pi * 50 * times).astype("f4"), RATE_HZ)
    expected = np.sin(2 * np.pi * 50 * alteration.speed * np.arange(N_SAMPLES) / RATE_HZ)
    assert np.abs(altered - expected)[500:-500].max() < 1e-3


def test_notes_that_leave_the_piano_lose_their_labels():
    up, down = (
        Alteration(N_SAMPLES, speed=2 ** (2 / 12)),
        Alteration(N_SAMPLES, speed=2 ** (-2 / 12)),
    )
    known = labels((21, 23, 60, 106, 107))
    assert apply_to_labels(up, known).notes.pitch.tolist() == [23, 25, 62, 108]
    assert apply_to_labels(down, known).notes.pitch.tolist() == [21, 58, 104, 105]
    assert apply_to_labels(down, known).notes.velocity.tolist() == [41, 42, 43, 44]
    assert apply_to_labels(up, Labels()) == Labels()


def test_a_room_adds_only_what_comes_later():
    room = Room(0.6, 3.0, 0.005, 2000.0, 0.5, seed=7)
    heard = apply_to_audio(Alteration(N_SAMPLES, room=room), impulse(), RATE_HZ)
    assert np.abs(heard[:12_345]).max() < 1e-5
    assert np.argmax(np.abs(heard)) == 12_345
    direct, tail = heard[12_345] ** 2, np.sum(heard[12_346:].astype(float) ** 2)
    assert np.abs(heard[12_346 : 12_345 + 80]).max() < 1e-5  # the first reflection is 5 ms late
    assert 10 * math.log10(direct / tail) == pytest.approx(3.0, abs=0.05)
    assert direct + tail == pytest.approx(1.0, abs=1e-3)


def test_a_room_decays_by_60_db_in_its_time():
    response = Room(1.0, 0.0, 0.002, 4000.0, 0.999, seed=3).impulse_response(RATE_HZ)
    assert len(response) == RATE_HZ
    energy = [np.sum(response[k : k + 1600].astype(float) ** 2) for k in (3200, 11_200)]
    assert 10 * math.log10(energy[0] / energy[1]) == pytest.approx(30.0, abs=1.5)


def test_an_equaliser_keeps_times_and_has_its_gains():
    # Points at 40, 565.7 and 8000 Hz.
    equaliser = Equaliser((-6.0, 4.0, 2.0))
    alteration = Alteration(N_SAMPLES, equaliser=equaliser)
    heard = apply_to_audio(alteration, impulse(), RATE_HZ)
    assert np.argmax(np.abs(heard)) == 12_345
    before, after = heard[12_345 - 400 : 12_345], heard[12_346 : 12_346 + 400]
    assert np.allclose(before[::-1], after, atol=1e-5)
    audio = tone(565.7, N_SAMPLES)
    middle = slice(8000, -8000)
    gain = apply_to_audio(alteration, audio, RATE_HZ)[middle].std() / audio[middle].std()
    assert 20 * math.log10(gain) == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_noise_has_its_level_and_colour(exponent):
    audio = music(N_SAMPLES)
    noise = Noise(20.0, exponent, seed=4)
    added = apply_to_audio(Alteration(N_SAMPLES, noise=noise), audio, RATE_HZ) - audio
    snr_db = 10 * math.log10(np.mean(audio**2) / np.mean(added**2))
    assert snr_db == pytest.approx(20.0, abs=0.01)
    power = np.abs(np.fft.rfft(added)) ** 2
    octave_hz = [(200, 400), (3200, 6400)]
    low, high = (power[int(3 * a) : int(3 * b)].mean() for a, b in octave_hz)
    # Four octaves: 3.01 dB each and per unit of the exponent.
    assert 10 * math.log10(low / high) == pytest.approx(12.04 * exponent, abs=0.8)


def test_pauses_have_noise_too_and_an_impulse_stays_under_it():
    alteration = Alteration(N_SAMPLES, noise=Noise(30.0, 1.0, seed=4))
    silence = apply_to_audio(alteration, np.zeros(N_SAMPLES, np.float32), RATE_HZ)
    assert 20 * math.log10(silence.std()) == pytest.approx(-75.0, abs=0.1)
    assert np.argmax(np.abs(apply_to_audio(alteration, impulse(), RATE_HZ))) == 12_345


def test_a_band_mask_silences_its_band_in_its_time():
    mask = BandMask(300.0, 600.0, 16_000, 32_000)
    audio = tone(440.0, N_SAMPLES) + tone(1000.0, N_SAMPLES)
    heard = apply_to_audio(Alteration(N_SAMPLES, band_masks=(mask,)), audio, RATE_HZ)
    assert np.array_equal(heard[:16_000], audio[:16_000])
    assert np.array_equal(heard[32_000:], audio[32_000:])
    inside = slice(17_000, 31_000)
    assert np.allclose(heard[inside], tone(1000.0, N_SAMPLES)[inside], atol=0.03)


def test_drawn_masks_lie_within_the_window_and_the_spectrum():
    masks = [mask for a in drawn() for mask in a.band_masks]
    assert all(0 <= m.start_samples < m.end_samples <= N_SAMPLES for m in masks)
    assert all(m.low_hz >= 40 and m.high_hz <= RATE_HZ / 2 + 1e-6 for m in masks)
    widths = [math.log2(m.high_hz / m.low_hz) for m in masks]
    assert 0.3 <= min(widths) < 0.4 and 0.9 < max(widths) <= 1.0


def test_a_recorder_compresses_by_its_ratio():
    loud_and_soft = tone(440.0, N_SAMPLES) * np.repeat([1.0, 0.1], N_SAMPLES // 2).astype("f4")
    recorder = Recorder(48_000.0, 2.0, -60.0)
    heard = apply_to_audio(Alteration(N_SAMPLES, recorder=recorder), loud_and_soft, RATE_HZ)
    step_db = 20 * math.log10(heard[12_000:20_000].std() / heard[-8000:-1000].std())
    assert step_db == pytest.approx(10.0, abs=0.2)
    assert np.abs(heard).max() == pytest.approx(1.0, abs=0.01)


def test_a_recorder_clips_softly_and_hears_no_treble():
    audio = 0.5 * tone(440.0, N_SAMPLES)
    driven = apply_to_audio(
        Alteration(N_SAMPLES, recorder=Recorder(48_000.0, 1.0, 10.0)), audio, RATE_HZ
    )
    expected = 0.5 * np.tanh(audio / 0.5 * 10**0.5) / np.tanh(10**0.5)
    assert np.allclose(driven[1600:-1600], expected[1600:-1600], atol=2e-3)
    dull = Alteration(N_SAMPLES, recorder=Recorder(2000.0, 1.0, -60.0))
    high = apply_to_audio(dull, tone(4000.0, N_SAMPLES), RATE_HZ)[8000:-8000]
    # Order 6: 36.1 dB an octave above.
    assert 20 * math.log10(high.std() * math.sqrt(2)) == pytest.approx(-36.1, abs=0.1)
    heard = apply_to_audio(dull, impulse(), RATE_HZ)
    assert np.argmax(np.abs(heard)) == 12_345


def test_gain_is_in_decibels_of_amplitude():
    heard = apply_to_audio(Alteration(4, gain_db=-20.0), np.full(4, 0.5, np.float32), RATE_HZ)
    assert heard.tolist() == pytest.approx([0.05] * 4)
    assert heard.dtype == np.float32


def test_silence_stays_finite_under_everything():
    silence = np.zeros(2 * N_SAMPLES, np.float32)
    for alteration in drawn(5):
        heard = apply_to_audio(alteration, silence[: alteration.source_samples(N_SAMPLES)], RATE_HZ)
        assert np.isfinite(heard).all()
        assert 0 < np.abs(heard).max() < 0.1


def test_lateness_is_in_the_labels_alone_and_more_of_it_in_soft_notes():
    known = labels(pitches=(60, 62))
    (alteration,) = drawn(1, probability=0.0, lateness=ALWAYS_LATE)
    assert alteration == Alteration(N_SAMPLES, lateness=Lateness(3.43 / 343, 0.02))
    audio = music(N_SAMPLES)
    assert np.array_equal(apply_to_audio(alteration, audio, RATE_HZ), audio)
    moved = apply_to_labels(alteration, known)
    softness = 1 - known.notes.velocity / 127
    np.testing.assert_allclose(moved.notes.onset_s, 1.0 - 0.01 - 0.02 * softness)
    np.testing.assert_allclose(moved.notes.offset_s, 1.49)
    np.testing.assert_allclose(moved.notes.sounding_end_s, 2.49)
    np.testing.assert_allclose(moved.pedals.onset_s, known.pedals.onset_s - 0.01)
    np.testing.assert_allclose(moved.pedals.offset_s, known.pedals.offset_s - 0.01)
    np.testing.assert_allclose(moved.beats.time_s, known.beats.time_s - 0.01)
