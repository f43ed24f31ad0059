"""What Metre learns: strikes marked as beats, music altered as it should be, a batch learnt."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from amtcli.datasets.labels import BeatLabels, Labels, labels_of_performance
from amtcli.decoders.beats import BeatsConfig, decode_beats
from amtcli.decoders.score_velocities import score_notes
from amtcli.errors import DataError
from amtcli.networks.metre import Metre, MetreConfig
from amtcli.networks.strikes import N_FEATURES, strikes_of
from amtcli.notes import Note, Performance
from amtcli.training.objectives.metre import MetreObjective, MetreObjectiveConfig
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.score_alteration import ScoreAlterationConfig

AS_IT_IS = ScoreAlterationConfig(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
CONFIG = MetreObjectiveConfig(1000, 10, 0.07, 40, 0.0, 0, 0.0, AS_IT_IS)


def waltz(n_bars=4, seed=0):
    """Bass on one, chords on two and three, and something between; beats 0.5 s apart."""
    random = np.random.RandomState(seed)
    notes, times_s = [], 0.1 + 0.5 * np.arange(3 * n_bars)
    for place, time_s in enumerate(times_s):
        pitches = (40,) if place % 3 == 0 else (60, 64, 67)
        notes += [Note(time_s, time_s + 0.4, pitch, 90) for pitch in pitches]
        if random.rand() < 0.5:
            notes.append(Note(time_s + 0.25, time_s + 0.4, 76, 50))
    return Performance(tuple(notes)), times_s


def window(performance, times_s, duration_s=10.0):
    beats = BeatLabels(times_s, np.arange(len(times_s)) % 3 == 0, np.full(len(times_s), -1))
    return WindowLabels(replace(labels_of_performance(performance), beats=beats), duration_s)


def test_strikes_next_to_beats_are_marked():
    performance, times_s = waltz()
    found = MetreObjective(CONFIG).targets(window(performance, times_s + 0.03))
    strikes = strikes_of(score_notes(performance))
    n = int(found["n_strikes"])
    assert n == len(strikes)
    np.testing.assert_array_equal(found["features"][:n], strikes.features)
    assert not found["features"][n:].any()
    np.testing.assert_allclose(strikes.onset_s[np.flatnonzero(found["beat"])], times_s)
    np.testing.assert_allclose(strikes.onset_s[np.flatnonzero(found["downbeat"])], times_s[::3])


def test_a_beat_on_which_nothing_is_struck_marks_nothing():
    performance, times_s = waltz()
    found = MetreObjective(CONFIG).targets(window(performance, times_s + 0.11))
    assert not found["beat"].any()


def test_notes_that_began_before_a_window_are_not_struck_in_it():
    notes = Performance((Note(-0.5, 2.0, 60, 64), Note(1.0, 2.0, 64, 64), Note(9.0, 9.5, 67, 64)))
    found = MetreObjective(CONFIG).targets(window(notes, np.array([1.0]), 5.0))
    assert int(found["n_strikes"]) == 1


def test_of_a_long_window_the_first_strikes_are_told():
    performance, times_s = waltz()
    found = MetreObjective(replace(CONFIG, most_strikes=5)).targets(window(performance, times_s))
    assert found["features"].shape == (5, N_FEATURES)
    assert int(found["n_strikes"]) == 5
    plain = MetreObjective(CONFIG).targets(window(performance, times_s))
    np.testing.assert_array_equal(found["features"], plain["features"][:5])
    np.testing.assert_array_equal(found["downbeat"], plain["downbeat"][:5])


def test_music_in_another_tempo_key_and_dynamics_keeps_its_beats():
    performance, times_s = waltz()
    plain = MetreObjective(CONFIG).targets(window(performance, times_s))
    config = replace(CONFIG, tempo_spread=0.4, transposition=5, velocity_spread=10.0)
    told = MetreObjective(config).targets(window(performance, times_s))
    np.testing.assert_array_equal(told["beat"], plain["beat"])
    np.testing.assert_array_equal(told["downbeat"], plain["downbeat"])
    n = int(plain["n_strikes"])
    difference = (told["features"] - plain["features"])[:n]
    after = difference[:-1, 9]  # logarithms: one factor for all
    assert after.max() - after.min() < 1e-5 and abs(after[0]) > 1e-3
    semitones = difference[:, 3] * 40
    assert np.ptp(semitones) < 1e-4 and 1 <= round(abs(semitones[0])) <= 5
    assert abs(difference[0, 1]) > 1e-3


def test_without_beats_or_notes_there_is_nothing_to_learn():
    performance, times_s = waltz()
    with pytest.raises(DataError, match="made of beats"):
        MetreObjective(CONFIG).targets(WindowLabels(labels_of_performance(performance), 1.0))
    beats = window(performance, times_s).labels.beats
    with pytest.raises(DataError, match="made of notes"):
        MetreObjective(CONFIG).targets(WindowLabels(Labels(beats=beats), 1.0))


def stacked(windows):
    targets = [MetreObjective(CONFIG).targets(one) for one in windows]
    return {name: torch.from_numpy(np.stack([t[name] for t in targets])) for name in targets[0]}


def test_a_network_learns_waltzes_and_the_decoder_finds_their_beats():
    torch.manual_seed(0)
    network = Metre(MetreConfig(width=16, n_layers=1)).train()
    optimizer = torch.optim.Adam(network.parameters(), 2e-2)
    targets = stacked([window(*waltz(seed=seed)) for seed in range(6)])
    objective = MetreObjective(CONFIG)
    totals = []
    for _ in range(60):
        loss = objective.loss(network, torch.zeros(6, 1000), targets)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        totals.append(loss.total.item())
    assert totals[-1] < 0.1 * totals[0]
    performance, times_s = waltz(seed=99)
    with torch.inference_mode():
        (heard,) = network.eval().activations_of([strikes_of(score_notes(performance))], 1001, 0.01)
    beats = decode_beats(heard, BeatsConfig(1000, 10, 0.5, 0.5, 1.0, 7))
    np.testing.assert_allclose([beat.onset_s for beat in beats], times_s, atol=0.006)
    assert [beat.is_downbeat for beat in beats] == (np.arange(12) % 3 == 0).tolist()
    assert {beat.dynamics for beat in beats} == {None}


def test_a_window_without_any_note_has_a_loss():
    targets = stacked([window(Performance(), np.empty(0))])
    network = Metre(MetreConfig(width=4, n_layers=1))
    loss = MetreObjective(CONFIG).loss(network, torch.zeros(1, 1000), targets)
    loss.total.backward()
    assert loss.total.item() == 0
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
