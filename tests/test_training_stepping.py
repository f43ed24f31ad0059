"""One step: parts add up, the gradient is bounded before the step, what is no number stops."""

import numpy as np
import pytest
import torch
import toy_training as toy

from amtcli.training.batches import Share, WindowMaker
from amtcli.training.components import build_components
from amtcli.training.hearing import Hearing
from amtcli.training.ranks import Ranks
from amtcli.training.state import make_learner
from amtcli.training.stepping import NotFiniteError, Stepper


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for registry, entry in toy.entries():
        monkeypatch.setitem(registry, "toy", entry)


@pytest.fixture(autouse=True)
def one_thread():
    """Threads cost more than they give for a toy, most of all beside other tests."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture
def recordings(tmp_path):
    return toy.write_pack(tmp_path / "pack").split("train")


def steppers(tmp_path, recordings, *overrides):
    """Return a stepper, its learner and all its batches."""
    recipe = toy.write_recipe(tmp_path, *overrides)
    parts = build_components(recipe)
    learner = make_learner(recipe, Hearing(parts.front_end, parts.network).train())
    ranks = Ranks(0, 1, torch.device("cpu"))
    stepper = Stepper(
        recipe,
        parts.front_end,
        parts.objective,
        learner,
        learner.hearing,
        ranks,
        recipe.training.precision,
    )
    maker = WindowMaker(recordings, parts.objective, recipe.sampling, None, recipe.training.seed)
    training = recipe.training
    share = Share(training.batch_size // training.accumulation, training.accumulation, 0, 1)

    def feed():
        for step in range(training.steps):
            for part in range(training.accumulation):
                yield maker.batch(step, share.indices(part))

    return stepper, learner, feed()


def weights(learner):
    return {name: tensor.clone() for name, tensor in learner.hearing.state_dict().items()}


def test_two_parts_of_four_are_a_batch_of_eight(tmp_path, recordings):
    found = []
    for accumulation in (1, 2):
        stepper, learner, feed = steppers(
            tmp_path,
            recordings,
            "network.dropout=0.0",
            f"training.accumulation={accumulation}",
        )
        reports = [stepper.step(step, feed) for step in range(3)]
        found.append((reports, weights(learner)))
    (whole, whole_weights), (halves, halves_weights) = found
    for one, other in zip(whole, halves, strict=True):
        assert one.losses == pytest.approx(other.losses, rel=1e-5)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=1e-5)
    for name, tensor in whole_weights.items():
        torch.testing.assert_close(tensor, halves_weights[name], rtol=1e-4, atol=1e-5)


def test_the_gradient_is_bounded_before_the_step(tmp_path, recordings):
    """Adam's epsilon is made so great that a step is in proportion to the gradient."""
    moves = []
    for clip_norm in (0.0, 1e-4):
        stepper, learner, feed = steppers(
            tmp_path,
            recordings,
            f"optimiser.clip_norm={clip_norm}",
            "optimiser.epsilon=1e3",
            "optimiser.weight_decay=0.0",
            "optimiser.learning_rate=1e6",
        )
        before = weights(learner)
        report = stepper.step(0, feed)
        after = weights(learner)
        moved = sum((after[name] - before[name]).square().sum() for name in before).sqrt()
        moves.append((report.gradient_norm, moved.item()))
    (norm, free), (same_norm, bounded) = moves
    assert norm == same_norm > 1e-2  # the norm is told as it was
    assert bounded / free == pytest.approx(1e-4 / norm, rel=2e-2)


def test_the_rate_and_the_average_move_with_the_steps(tmp_path, recordings):
    stepper, learner, feed = steppers(tmp_path, recordings)
    start = weights(learner)
    report = stepper.step(0, feed)
    assert report.learning_rate == pytest.approx(0.01 * 0.04)
    now = learner.hearing.state_dict()["network.last.bias"]
    expected = start["network.last.bias"] * 0.1 + now * 0.9
    torch.testing.assert_close(learner.average.tensors["network.last.bias"], expected)


def test_dropout_follows_from_the_step_alone(tmp_path, recordings):
    losses = []
    for noise in (1, 2):
        stepper, _, feed = steppers(tmp_path, recordings)
        torch.manual_seed(noise)  # whatever happened before
        losses.append([stepper.step(step, feed).losses["loss"] for step in range(2)])
    assert losses[0] == losses[1]


def test_dropout_differs_from_step_to_step(tmp_path, recordings):
    stepper, _, feed = steppers(tmp_path, recordings, "optimiser.learning_rate=1e-12")
    batch = next(feed)
    first, second = (stepper.step(step, iter([batch])).losses["loss"] for step in (1, 2))
    assert first != second


def test_bf16_multiplies_in_bf16(tmp_path, recordings):
    seen = {}
    for precision in ("float32", "bf16"):
        stepper, learner, feed = steppers(
            tmp_path, recordings, f"training.precision={precision}", "network.dropout=0.0"
        )
        hook = learner.hearing.network.last.register_forward_hook(
            lambda module, inputs, output, key=precision: seen.update({key: output.dtype})
        )
        seen[precision + " loss"] = stepper.step(0, feed).losses["loss"]
        hook.remove()
        assert all(tensor.dtype == torch.float32 for tensor in weights(learner).values())
    assert (seen["float32"], seen["bf16"]) == (torch.float32, torch.bfloat16)
    assert seen["bf16 loss"] == pytest.approx(seen["float32 loss"], rel=1e-2)


def test_what_is_no_number_leaves_weights_and_optimiser_alone(tmp_path, recordings):
    stepper, learner, feed = steppers(tmp_path, recordings)
    stepper.step(0, feed)
    before = weights(learner)
    batch = next(feed)
    batch.inputs[3, 5] = np.nan
    with pytest.raises(NotFiniteError, match=r"in step 1: loss nan.*windows of piece"):
        stepper.step(1, iter([batch]))
    for name, tensor in before.items():
        torch.testing.assert_close(learner.hearing.state_dict()[name], tensor, rtol=0, atol=0)
    moments = learner.optimiser.state_dict()["state"]
    assert all(entry["step"] == 1 for entry in moments.values())
