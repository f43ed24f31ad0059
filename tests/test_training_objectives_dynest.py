"""What DynEst learns: its targets, the authors' losses, and that the decoder understands both."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from amtcli.datasets.labels import BeatLabels, Labels
from amtcli.decoders.beats import BeatActivations, BeatsConfig, decode_beats
from amtcli.errors import DataError
from amtcli.networks.dynest import Dynest, DynestConfig
from amtcli.notes import DYNAMICS
from amtcli.training.objectives.dynest import DynestObjective, DynestObjectiveConfig
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.sampling import cut_labels

RATE_HZ, HOP_SAMPLES = 22050, 441  # 50 frames per second
OBJECTIVE = DynestObjective(DynestObjectiveConfig(RATE_HZ, HOP_SAMPLES, 3, 18.0, 68.0, 889.0))

# What the authors' program says of `authors_case`.
AUTHORS = {
    "dynamics": 2.042785406112671,
    "beat": 1.1526474952697754,
    "downbeat": 2.440065622329712,
    "change": 2.9876935482025146,
}


def beat_labels(times_s, first_of_bar=0, dynamics=None):
    is_downbeat = (np.arange(len(times_s)) - first_of_bar) % 3 == 0
    if dynamics is None:
        dynamics = np.full(len(times_s), -1)
    return BeatLabels(np.asarray(times_s), is_downbeat, np.asarray(dynamics, np.int8))


def targets(beats, duration_s=3.0):
    return OBJECTIVE.targets(WindowLabels(Labels(beats=beats), duration_s))


def test_moments_lie_on_the_frames_next_to_them():
    found = targets(beat_labels([0.009, 0.511, 1.0, 1.989], 1, [2, 2, 4, 4]))
    assert {name: np.flatnonzero(roll).tolist() for name, roll in found.items()} == {
        "beat": [0, 26, 50, 99],
        "downbeat": [26],
        "change": [50],  # it begins as mf
        "dynamics": [0, 26, 50, 99],
        "knows_dynamics": [0],
    }
    assert found["dynamics"][[0, 26, 50, 99]].tolist() == [3, 3, 5, 5]
    assert len(found["beat"]) == 151


def test_what_is_marked_before_a_window_does_not_begin_in_it():
    labels = Labels(beats=beat_labels([0.5, 1.0, 1.5, 2.0], 0, [1, 1, 1, 3]))
    whole, later = (OBJECTIVE.targets(WindowLabels(cut, 2.0)) for cut in (
        cut_labels(labels, 0.0, 2.1), cut_labels(labels, 0.75, 2.0)
    ))  # fmt: skip
    assert np.flatnonzero(whole["change"]).tolist() == [25, 100]
    assert np.flatnonzero(later["change"]).tolist() == [62]
    assert np.flatnonzero(later["beat"]).tolist() == [12, 38, 62]


def test_without_dynamics_nothing_is_said_of_them():
    found = targets(beat_labels([0.5, 1.0]))
    assert not found["dynamics"].any()
    assert not found["change"].any()
    assert found["knows_dynamics"].tolist() == [0]
    with pytest.raises(DataError, match="made of beats"):
        OBJECTIVE.targets(WindowLabels(Labels(), 1.0))


def authors_case():
    """Random answers, and moments far apart; as given to the authors' losses."""
    random = np.random.RandomState(5)
    heads = {name: random.randn(2, 120).astype("f") * 2 for name in ("beat", "downbeat", "change")}
    heads["dynamics"] = random.randn(2, 120, 6).astype("f")
    rolls = {name: np.zeros((2, 120), np.uint8) for name in ("beat", "downbeat", "change")}
    for window in range(2):
        rolls["beat"][window, 4 + window :: 20] = 1
        rolls["downbeat"][window, 4 + window :: 40] = 1
    rolls["change"][0, 37] = rolls["change"][1, 60] = 1
    rolls["dynamics"] = np.where(rolls["beat"] > 0, random.randint(1, 6, (2, 120)), 0)
    rolls["knows_dynamics"] = np.ones((2, 1), np.uint8)
    return heads, rolls


def loss(heads, rolls):
    answer = SimpleNamespace(**{name: torch.from_numpy(head) for name, head in heads.items()})
    given = {name: torch.from_numpy(roll) for name, roll in rolls.items()}
    return OBJECTIVE.loss(lambda _: answer, torch.zeros(1), given)


def test_losses_are_those_of_the_authors():
    found = loss(*authors_case())
    for name, theirs in AUTHORS.items():
        assert found.terms[name].item() == pytest.approx(theirs, rel=1e-5), name
    assert found.total.item() == pytest.approx(sum(AUTHORS.values()), rel=1e-5)


def test_a_beat_may_be_told_three_frames_off_and_no_more():
    losses = []
    for shift in (0, 3, -3, 4):
        heads, rolls = authors_case()
        heads["beat"] = np.full((2, 120), -5.0, np.float32)
        for window in range(2):
            heads["beat"][window, 4 + window + shift :: 20] = 5
        losses.append(loss(heads, rolls).terms["beat"].item())
    assert losses[1] == pytest.approx(losses[0]) == pytest.approx(losses[2])
    assert losses[3] > 10 * losses[0]


def test_where_dynamics_are_not_known_changes_are_not_learnt():
    heads, rolls = authors_case()
    rolls["knows_dynamics"][1] = 0
    one = loss(heads, rolls).terms["change"]
    heads["change"][1] = 7
    assert loss(heads, rolls).terms["change"] == one
    assert 0 < one < AUTHORS["change"]


def test_a_network_learns_a_batch():
    torch.manual_seed(0)
    network = Dynest(DynestConfig(n_features=4, stride=2, n_latent=4, n_experts=2)).train()
    beats = beat_labels(np.arange(0.3, 2.9, 0.6), 1, [0, 0, 4, 4, 1])
    rolls = {name: torch.from_numpy(roll)[None] for name, roll in targets(beats).items()}
    features = torch.rand(1, 151, 4) + 3 * rolls["dynamics"][..., None]
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    totals = []
    for _ in range(12):
        torch.manual_seed(1)  # the same dropout
        found = OBJECTIVE.loss(network, features, rolls)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
        totals.append(found.total.item())
    assert totals[-1] < 0.8 * totals[0]
    assert all(p.grad is not None and p.grad.any() for p in network.heads.parameters())


def test_targets_are_beats_to_the_decoder():
    random = np.random.RandomState(1)
    times_s = np.cumsum(random.uniform(0.2, 0.9, 80))
    beats = beat_labels(times_s, 2, random.randint(0, 5, 80))
    rolls = targets(beats, times_s[-1] + 1)
    classes = np.eye(6, dtype=np.float32)[rolls["dynamics"]][:, 1:]
    moments = (rolls[name].astype(np.float32) for name in ("beat", "downbeat", "change"))
    config = BeatsConfig(RATE_HZ, HOP_SAMPLES, 0.5, 0.5, 0.73, 3)
    found = decode_beats(BeatActivations(*moments, classes), config)
    np.testing.assert_allclose([beat.onset_s for beat in found], times_s, atol=0.0101)
    assert [beat.is_downbeat for beat in found] == beats.is_downbeat.tolist()
    assert [beat.dynamics for beat in found] == [DYNAMICS[index] for index in beats.dynamics]
    assert [beat.is_change for beat in found] == beats.changes().tolist()
