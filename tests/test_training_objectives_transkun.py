"""The likelihood of paths against counting them all, and Transkun's targets through its decoder."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from amtcli.datasets.labels import labels_of_performance
from amtcli.decoders.semi_crf import SYMBOLS, Intervals, SemiCrfConfig, SemiCrfDecoder
from amtcli.errors import DataError
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.training.objectives.objective import WindowLabels
from amtcli.training.objectives.semi_crf import interval_scores, log_partition
from amtcli.training.objectives.transkun import TranskunObjective, TranskunObjectiveConfig
from amtcli.windows import WindowSpec

RATE_HZ, HOP = 44100, 1024
FRAME_S = HOP / RATE_HZ
OBJECTIVE = TranskunObjective(TranskunObjectiveConfig(RATE_HZ, HOP, pedal_extends_notes=False))


def paths(n_frames):
    """All sets of intervals, single frames included, that do not overlap but at their ends."""
    steps = []  # ways from the first frame to the last: frames at which something ends

    def walk(path, frame):
        if frame == n_frames - 1:
            steps.append(path)
            return
        walk(path, frame + 1)
        for end in range(frame + 1, n_frames):
            walk([*path, (frame, end)], end)

    walk([], 0)
    for path in steps:
        inside = {frame for begin, end in path for frame in range(begin + 1, end)}
        free = [frame for frame in range(n_frames) if frame not in inside]
        for taken in product([False, True], repeat=len(free)):
            yield path + [(f, f) for f, t in zip(free, taken, strict=True) if t]


def test_all_paths_are_added_up():
    torch.manual_seed(0)
    scores = torch.randn(2, 4, 4, dtype=torch.float64, requires_grad=True)
    totals = torch.stack(
        [sum((scores[:, e, b] for b, e in path), scores.new_zeros(2)) for path in paths(4)]
    )
    expected = torch.logsumexp(totals, dim=0)
    (gradient,) = torch.autograd.grad(expected.sum(), scores)
    found = log_partition(scores)
    torch.testing.assert_close(found, expected)
    (found.sum()).backward()
    torch.testing.assert_close(scores.grad, gradient)
    assert (gradient.tril()[gradient.tril() != 0] > 0.001).all()


def test_the_gradient_is_that_of_differences():
    scores = torch.randn(2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: log_partition(s) * torch.tensor([1.0, -2.0]), scores)


def test_long_windows_neither_overflow_nor_vanish():
    scores = torch.full((1, 200, 200), -1e5)
    scores[0, 150, 20] = 3e4
    scores.requires_grad_()
    total = log_partition(scores)
    total.sum().backward()
    assert total.item() == pytest.approx(3e4)
    assert scores.grad[0, 150, 20] == pytest.approx(1)
    assert scores.grad.isfinite().all()


def test_scores_grow_with_the_length():
    ends, begins = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.ones(3, 2)
    scores = interval_scores(ends, begins, torch.tensor([0.1, 0.2, 0.3]))
    assert scores[2, 0].item() == pytest.approx(2 * 11 / 2**0.5)
    assert scores[2, 1].item() == pytest.approx(11 / 2**0.5)
    assert scores.diagonal().tolist() == pytest.approx([0.1, 0.2, 0.3])


def rows(targets):
    return [tuple(row) for row in targets["intervals"].tolist() if row[0] >= 0]


def test_targets_by_hand():
    notes = (
        Note(10.25 * FRAME_S, 20.4 * FRAME_S, 60, 50),
        Note(-5 * FRAME_S, 3 * FRAME_S, 61, 60),  # began before the window
        Note(30 * FRAME_S, 90 * FRAME_S, 62, 70),  # lasts longer
        Note(30.0 * FRAME_S, 30.2 * FRAME_S, 63, 80),
        Note(30.3 * FRAME_S, 30.4 * FRAME_S, 63, 90),  # in the same frame: they become one
    )
    pedals = (PedalSpan(4 * FRAME_S, 9.8 * FRAME_S, 67), PedalSpan(1, 1.1, 64))
    window = WindowLabels(labels_of_performance(Performance(notes, pedals)), 50 * FRAME_S)
    targets = OBJECTIVE.targets(window)
    found = dict(zip(rows(targets), range(9), strict=False))
    c4 = SYMBOLS.index(60)
    assert set(found) == {
        (c4, 10, 20),
        (c4 + 1, 0, 3),
        (c4 + 2, 30, 50),
        (c4 + 3, 30, 30),
        (1, 4, 10),
        (0, 43, 47),
    }
    row = found[c4, 10, 20]
    np.testing.assert_allclose(targets["shifts"][row], [0.25, 0.4], atol=1e-5)
    assert targets["velocity"][row] == 50
    assert targets["present"][found[c4 + 1, 0, 3]].tolist() == [0, 1]
    assert targets["present"][found[c4 + 2, 30, 50]].tolist() == [1, 0]
    np.testing.assert_allclose(targets["shifts"][found[c4 + 3, 30, 30]], [0, 0.4], atol=1e-5)
    assert targets["velocity"][found[c4 + 3, 30, 30]] == 80
    assert targets["velocity"][found[1, 4, 10]] == 127
    assert targets["known"].all()


def test_pedals_that_are_not_known_are_not_asked_for():
    labels = labels_of_performance(Performance((Note(0.1, 0.2, 60, 50),)), knows_pedals=False)
    known = OBJECTIVE.targets(WindowLabels(labels, 1.0))["known"]
    assert known.tolist() == [False] * 2 + [True] * 88


def test_more_than_can_be_played_is_refused():
    notes = tuple(Note(0.009 * i, 0.009 * i + 0.3, 21 + i, 50) for i in range(30))
    window = WindowLabels(labels_of_performance(Performance(notes)), 0.29)
    with pytest.raises(DataError, match=r"30 notes and pedals in 0\.29 s"):
        OBJECTIVE.targets(window)


class Free(nn.Module):
    """Stands for the network: what it answers is its weights, for one window alone."""

    def __init__(self, n_frames, n_intervals):
        super().__init__()
        torch.manual_seed(0)
        shape = (1, len(SYMBOLS), n_frames)
        self.ends = nn.Parameter(0.1 * torch.randn(*shape, 8))
        self.begins = nn.Parameter(0.1 * torch.randn(*shape, 8))
        self.singles = nn.Parameter(torch.full(shape, -5.0))
        self.velocity = nn.Parameter(torch.zeros(1, n_intervals, 128))
        self.refinement = nn.Parameter(torch.zeros(1, n_intervals, 4))

    def forward(self, *_):
        return SimpleNamespace(**dict(self.named_parameters()))


def decoded(network, targets, duration_s):
    """The likeliest paths, with what was learnt of the intervals that are among the targets."""
    scores = interval_scores(network.ends, network.begins, network.singles)[0].detach().numpy()
    symbol, end, begin = np.nonzero(np.tril(scores) > 0)
    of = {row: i for i, row in enumerate(rows(targets))}
    index = [of.get(row, -1) for row in zip(symbol, begin, end, strict=True)]
    refinement = network.refinement[0].detach()
    shift = (torch.distributions.ContinuousBernoulli(logits=refinement[:, :2]).mean - 0.5) / 0.99
    intervals = Intervals(
        symbol=symbol,
        begin=begin,
        end=end,
        score=scores[symbol, end, begin],
        velocity=network.velocity[0].argmax(dim=1)[index].numpy(),
        onset_shift=shift[index, 0].detach().numpy(),
        offset_shift=shift[index, 1].detach().numpy(),
        has_onset=(refinement[index, 2] > 0).numpy(),
        has_offset=(refinement[index, 3] > 0).numpy(),
    )
    length = round(duration_s * RATE_HZ)
    decoder = SemiCrfDecoder(SemiCrfConfig(RATE_HZ, HOP), WindowSpec(length, length, 0))
    return [*decoder.feed(intervals), *decoder.close()]


def test_scores_learn_a_path_that_decodes_to_its_labels():
    notes = (
        Note(0.05, 0.31, 60, 50),
        Note(0.31, 0.6, 60, 61),  # struck again at once
        Note(0.2, 0.9, 64, 70),
        Note(0.4, 0.42, 67, 80),  # in one frame
    )
    pedals = (PedalSpan(0.1, 0.5, 64, 127),)
    duration_s = 45 * FRAME_S
    labels = labels_of_performance(Performance(notes, pedals))
    targets = OBJECTIVE.targets(WindowLabels(labels, duration_s))
    batch = {name: torch.from_numpy(values)[None] for name, values in targets.items()}
    network = Free(46, len(targets["velocity"]))
    optimizer = torch.optim.Adam(network.parameters(), 0.2)
    losses = []
    for _ in range(80):
        loss = OBJECTIVE.loss(network, torch.zeros(1), batch)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        losses.append(loss.total.item())
    assert losses[-1] < 0.05 * losses[0]
    assert loss.terms.keys() == {"path", "velocity", "shift", "presence"}
    assert 0 <= loss.terms["path"] < 2
    found = decoded(network, targets, duration_s)
    heard = sorted((n for n in found if isinstance(n, Note)), key=lambda n: (n.pitch, n.onset_s))
    assert [(n.pitch, n.velocity) for n in heard] == [(60, 50), (60, 61), (64, 70), (67, 80)]
    for ours, note in zip(heard, notes, strict=True):
        assert ours.onset_s == pytest.approx(note.onset_s, abs=0.004)
        assert ours.offset_s == pytest.approx(note.offset_s, abs=0.004)
    (span,) = (p for p in found if isinstance(p, PedalSpan))
    assert (span.controller, span.value) == (64, 127)
    assert span.offset_s == pytest.approx(0.5, abs=0.004)


def test_symbols_that_are_not_known_do_not_count():
    labels = labels_of_performance(Performance(), knows_pedals=False)
    targets = OBJECTIVE.targets(WindowLabels(labels, 20 * FRAME_S))
    batch = {name: torch.from_numpy(values)[None] for name, values in targets.items()}
    network = Free(21, len(targets["velocity"]))
    loss = OBJECTIVE.loss(network, torch.zeros(1), batch)
    loss.total.backward()
    assert not network.singles.grad[0, :2].any()
    assert (network.singles.grad[0, 2:] > 0).all()
    assert loss.terms["velocity"] == 0
