"""The moving average of weights, step by step on paper."""

import pytest
import torch

from amtcli.training.average import WeightAverage


def test_the_average_moves_as_its_decay_says():
    weights = {"w": torch.tensor([10.0])}
    average = WeightAverage(weights, 0.25)
    weights["w"] += 4  # in place, as optimisers do
    average.update(weights, 1)  # young: min(.25, 1 / 10)
    assert average.tensors["w"].item() == pytest.approx(10 * 0.1 + 14 * 0.9)
    average.update(weights, 3)  # min(.25, 3 / 12)
    assert average.tensors["w"].item() == pytest.approx(13.6 * 0.25 + 14 * 0.75)
    average.update(weights, 1000)
    assert average.tensors["w"].item() == pytest.approx(13.9 * 0.25 + 14 * 0.75)


def test_counts_are_copied():
    counts = {"n": torch.tensor(3), "w": torch.zeros(1)}
    average = WeightAverage(counts, 0.9)
    counts["n"] += 4
    average.update(counts, 1)
    assert average.tensors["n"].item() == 7
