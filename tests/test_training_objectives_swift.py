"""Targets of a few notes worked out by hand, and what the loss counts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from amtcli.datasets.labels import Labels, NoteLabels, PedalLabels
from amtcli.decoders.peaks import PeaksConfig, decode_peaks
from amtcli.decoders.regression import RegressionActivations
from amtcli.networks.swift import HEADS, PEDAL_HEADS
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.objectives.swift import SwiftObjective, SwiftObjectiveConfig, velocity_error

CONFIG = SwiftObjectiveConfig(
    sample_rate_hz=16000,
    hop_samples=400,  # 25 ms
    pedal_extends_notes=True,
    half_width_s=0.05,
    margin_frames=2,
    onset_weight=10.0,
    offset_weight=3.0,
    frame_weight=3.0,
    velocity_weight=3.0,
    velocity_level_weight=0.25,
    pedal_weight=1.0,
)
# Two strokes of one key, 100 ms apart, and a note that the window cuts: s, s, s, pitch, velocity.
NOTES = [(-0.5, 0.1, 0.2, 30, 50), (0.26, 0.3, 0.4, 60, 40), (0.36, 0.5, 0.6125, 60, 96)]
PEDAL = PedalLabels(np.array([0.1]), np.array([0.4125]), np.array([64]), np.array([127]))


def labels(notes=NOTES, pedals=PEDAL):
    onset, offset, end, pitch, velocity = np.array(notes, float).reshape(-1, 5).T
    times = (onset, offset, end)
    return Labels(NoteLabels(*times, pitch.astype(np.int16), velocity.astype(np.int16)), pedals)


def targets(config=CONFIG, **changes):
    return SwiftObjective(config).targets(WindowLabels(labels(**changes), 1.0))


def test_onsets_are_triangles_between_frames():
    onset = targets()["onset"][:, 39]
    # 0.26 s is frame 10.4, 0.36 s frame 14.4; half a width is two frames.
    wanted = np.zeros(41, np.float32)
    wanted[9:13] = wanted[13:17] = [0.3, 0.8, 0.7, 0.2]
    np.testing.assert_allclose(onset, wanted, rtol=0, atol=1e-5)


def test_ends_are_those_of_the_sound_or_of_the_key():
    sounding, key = targets(), targets(replace(CONFIG, pedal_extends_notes=False))
    assert np.flatnonzero(sounding["offset"][:, 9] > 0.99).tolist() == [8]
    assert np.flatnonzero(key["offset"][:, 9] > 0.99).tolist() == [4]
    assert np.flatnonzero(sounding["frame"][:, 9]).tolist() == list(range(8))
    # The first stroke ends where the second begins; the frame there belongs to one of the two.
    assert np.flatnonzero(sounding["frame"][:, 39]).tolist() == list(range(10, 24))


def test_velocities_reach_as_far_as_triangles_and_the_nearer_note_counts():
    roll = targets()
    assert roll["velocity"][9:17, 39].tolist() == [40] * 4 + [96] * 4
    assert np.array_equal(roll["velocity"] > 0, roll["onset"] > 0)


def test_the_pedal_counts_where_it_is_known():
    known, unknown = targets(), targets(pedals=None)
    assert np.flatnonzero(known["pedal_frame"]).tolist() == list(range(4, 16))
    assert known["pedal_offset"][15:19, 0].tolist() == pytest.approx([0.25, 0.75, 0.75, 0.25])
    assert known["pedal_known"].all()
    assert not unknown["pedal_known"].any()
    assert not unknown["pedal_frame"].any()


def test_targets_decode_to_the_notes_that_they_were_made_of():
    roll = targets()
    activations = RegressionActivations(
        **{name: roll[name].astype(np.float32) for name in ("onset", "offset", "frame")},
        velocity=roll["velocity"] / np.float32(128),
        pedal_offset=roll["pedal_offset"],
        pedal_frame=roll["pedal_frame"].astype(np.float32),
        level=np.zeros_like(roll["pedal_offset"]),
    )
    decoder = PeaksConfig(16000, 400, 0.4, 0.35, 0.15, 0.35, 0.5, 30.0)
    found = decode_peaks(activations, decoder)
    notes = [(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in found if hasattr(n, "pitch")]
    first, second = notes
    assert first == pytest.approx((0.26, 0.36, 60, 40), abs=0.003)
    assert second == pytest.approx((0.36, 0.6125, 60, 96), abs=0.003)
    (pedal,) = [n for n in found if not hasattr(n, "pitch")]
    assert (pedal.onset_s, pedal.offset_s) == pytest.approx((0.1, 0.4125), abs=0.003)


class Answer(nn.Module):
    """A network that always gives the same logits."""

    def __init__(self, value=0.0):
        super().__init__()
        sizes = {**dict.fromkeys(HEADS, 88), **dict.fromkeys(PEDAL_HEADS, 1), "level": 1}
        self.logits = {name: torch.full((1, 40, n), value) for name, n in sizes.items()}

    def forward(self, features):
        return self.logits


def loss(network, config=CONFIG, **changes):
    batch = {name: torch.from_numpy(t)[None] for name, t in targets(config, **changes).items()}
    return SwiftObjective(config).loss(network, torch.zeros(1, 40, 294, 2), batch)


def test_terms_are_weighted_means_over_cells():
    terms = {name: float(term) for name, term in loss(Answer()).terms.items()}
    log_2 = float(np.log(2))  # of every cell whose answer is one half
    assert terms["onset"] == pytest.approx(10 * log_2)
    assert terms["offset"] == terms["frame"] == pytest.approx(3 * log_2)
    assert terms["pedal_offset"] == terms["pedal_frame"] == pytest.approx(log_2)
    given = {name: torch.from_numpy(t)[None, 2:38] for name, t in targets().items()}
    error = velocity_error(0.5 - given["velocity"] / 128, given["onset"], 0.25)
    assert terms["velocity"] == pytest.approx(3 * float(error))
    assert float(loss(Answer()).total) == pytest.approx(sum(terms.values()))


def test_velocities_are_counted_from_the_level_of_the_frames_that_sound():
    lower, silent, told = Answer(), Answer(), Answer()
    sounds = torch.from_numpy(targets()["frame"][:40]).any(dim=1)
    lower.logits["velocity"] -= 0.7
    told.logits["level"][:, sounds] = 0.7
    silent.logits["level"][:, ~sounds] = 0.7
    velocity = [float(loss(n).terms["velocity"]) for n in (Answer(), silent, lower, told)]
    assert velocity[0] == velocity[1]
    assert velocity[2] == pytest.approx(velocity[3]) != velocity[0]


def test_every_window_has_a_level_of_its_own():
    one = {name: torch.from_numpy(t)[None] for name, t in targets().items()}
    batch = {name: torch.cat([t, t]) for name, t in one.items()}
    told, lower = Answer(), Answer()
    for network in (told, lower):
        network.logits = {name: t.repeat(2, 1, 1) for name, t in network.logits.items()}
    told.logits["level"] += torch.tensor([0.2, 0.9])[:, None, None]
    lower.logits["velocity"] -= torch.tensor([0.2, 0.9])[:, None, None]
    objective, sound = SwiftObjective(CONFIG), torch.zeros(2, 40, 294, 2)
    terms = [objective.loss(n, sound, batch).terms["velocity"] for n in (told, lower)]
    assert float(terms[0]) == pytest.approx(float(terms[1]), rel=1e-6)


def test_a_pedal_that_is_not_known_costs_nothing():
    terms = loss(Answer(), pedals=None).terms
    assert float(terms["pedal_offset"]) == float(terms["pedal_frame"]) == 0.0


def test_margins_do_not_count():
    network = Answer()
    before = loss(network)
    for values in network.logits.values():
        values[:, :2] = 9.0
        values[:, -2:] = 9.0
    assert float(loss(network).total) == float(before.total)
    network.logits["onset"][:, 2] = 9.0
    assert float(loss(network).total) > float(before.total)


def test_an_error_in_velocity_that_a_window_shares_may_count_less():
    weights = torch.zeros(2, 3, 88)
    weights[0, 0, 5] = weights[0, 1, 7] = weights[1, 2, 9] = 1.0
    error = torch.zeros(2, 3, 88)
    error[0, 0, 5], error[0, 1, 7], error[1, 2, 9] = 0.1, 0.3, -0.6
    # Window 0: level 0.2, rest 0.1 and 0.1. Window 1: level 0.6, no rest.
    rest, level = 2 * 0.01, 2 * 0.04 + 0.36
    for weight in (0.0, 0.25, 1.0):
        wanted = (rest + weight * level) / 3
        assert float(velocity_error(error, weights, weight)) == pytest.approx(wanted, rel=1e-5)
    squares = (error**2 * weights).sum() / 3
    assert float(velocity_error(error, weights, 1.0)) == pytest.approx(float(squares), rel=1e-5)
    assert float(velocity_error(error, torch.zeros_like(weights), 1.0)) == 0.0


@pytest.mark.parametrize("change", [{"half_width_s": 0.0}, {"margin_frames": -1}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        replace(CONFIG, **change)
