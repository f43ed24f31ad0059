"""Windows: every place of every recording equally likely, drawn from seed, step and index."""

import numpy as np

from amtcli.datasets.labels import BeatLabels, Labels, NoteLabels, PedalLabels
from amtcli.training.recipe import SamplingConfig
from amtcli.training.sampling import WindowSampler, cut_labels, window_generator


def draws(lengths, config, n=4000, seed=0):
    sampler = WindowSampler(lengths, config)
    return [sampler.draw(window_generator(seed, step, 0)) for step in range(n)]


def test_a_recording_comes_as_often_as_it_has_places():
    found = draws([100, 340, 1], SamplingConfig(41, 1, 0))  # 60, 300 and 1 places
    shares = np.bincount([stretch.recording for stretch in found], minlength=3) / len(found)
    np.testing.assert_allclose(shares, np.array([60, 300, 1]) / 361, atol=0.025)


def test_starts_lie_on_the_grid_and_reach_over_both_ends():
    found = draws([100], SamplingConfig(40, 20, 30), n=400)  # -30, -10, ... 90 would end at 130
    assert {stretch.start_samples for stretch in found} == {-30, -10, 10, 30, 50, 70, 90}


def test_without_overhang_windows_stay_inside():
    starts = {stretch.start_samples for stretch in draws([100], SamplingConfig(90, 5, 0), n=100)}
    assert starts == {0, 5, 10}


def test_the_last_samples_of_a_recording_are_heard_too():
    starts = {stretch.start_samples for stretch in draws([102], SamplingConfig(90, 5, 0), n=100)}
    assert starts == {0, 5, 10, 15}  # 15 ends 3 samples behind the end
    hanging = {stretch.start_samples for stretch in draws([61], SamplingConfig(40, 20, 30), n=200)}
    assert hanging == {-30, -10, 10, 30, 50, 70}


def test_a_recording_shorter_than_a_window_has_one_place():
    starts = {stretch.start_samples for stretch in draws([10], SamplingConfig(90, 5, 7), n=20)}
    assert starts == {-7}


def test_a_draw_depends_on_seed_step_and_index_alone():
    def number(*place):
        return window_generator(*place).integers(2**62)

    assert number(1, 2, 3) == number(1, 2, 3)
    places = [(1, 2, 3), (1, 2, 4), (1, 3, 3), (2, 2, 3), (3, 2, 1)]
    assert len({number(*place) for place in places}) == len(places)


def test_labels_are_cut_where_they_sound_and_keep_their_times():
    notes = NoteLabels(
        onset_s=np.array([0.0, 0.5, 1.0, 2.5, 3.0]),
        offset_s=np.array([0.9, 0.8, 1.5, 9.0, 4.0]),
        sounding_end_s=np.array([1.0, 1.2, 2.0, 9.0, 4.0]),
        pitch=np.array([60, 61, 62, 63, 64], np.int16),
        velocity=np.array([1, 2, 3, 4, 5], np.int16),
    )
    pedals = PedalLabels(
        np.array([0.0, 1.5]), np.array([1.0, 8.0]), np.array([64, 67]), np.array([90, 91])
    )
    beats = BeatLabels(
        np.array([0.9, 1.0, 3.0]), np.array([True, False, True]), np.array([0, 1, 2], np.int8)
    )
    cut = cut_labels(Labels(notes, pedals, beats), 1.0, 2.0)
    # Pitch 60 has just ended, 61 still sounds under the pedal, 64 begins as the window ends.
    assert cut.notes.pitch.tolist() == [61, 62, 63]
    assert cut.notes.velocity.tolist() == [2, 3, 4]
    np.testing.assert_allclose(cut.notes.onset_s, [-0.5, 0.0, 1.5])
    np.testing.assert_allclose(cut.notes.offset_s, [-0.2, 0.5, 8.0])
    np.testing.assert_allclose(cut.notes.sounding_end_s, [0.2, 1.0, 8.0])
    assert (cut.pedals.onset_s.tolist(), cut.pedals.offset_s.tolist()) == ([0.5], [7.0])
    assert (cut.pedals.controller.tolist(), cut.pedals.value.tolist()) == ([67], [91])
    # The beat before is kept: it tells whether what is marked at the first one begins there.
    np.testing.assert_allclose(cut.beats.time_s, [-0.1, 0.0])
    assert cut.beats.dynamics.tolist() == [0, 1]
    assert cut.beats.is_downbeat.tolist() == [True, False]


def test_what_is_not_known_stays_unknown():
    assert cut_labels(Labels(), 0.0, 1.0) == Labels(None, None, None)
