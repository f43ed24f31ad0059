"""What the network hears and is told, folding, windows, and learning."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from amtcli.networks.velocity import score_swift
from amtcli.networks.velocity.score import ScoreRolls
from amtcli.networks.velocity.score_swift import ScoreSwift, ScoreSwiftConfig
from amtcli.tables import read_toml
from amtcli.training.recipe import RECIPES_FOLDER

SMALL = ScoreSwiftConfig(
    n_spectra=2,
    bins_per_semitone=3,
    n_semitones=98,
    stem_channels=(4, 6),
    partials_semitones=(-12, 0, 12, 19, 24),
    n_channels=8,
    mix_channels=2,
    mix_width=12,
    dilations=(1, 2),
    score_informed=True,
)
CONTEXT = 1 + 1 + 1 + 2 + 1 + 2  # frames to either side, layer by layer


def network(config=SMALL):
    """Return a network whose every part has a say, in evaluation mode."""
    torch.manual_seed(0)
    built = ScoreSwift(config)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
    torch.nn.init.normal_(built.output.weight, std=0.1)
    torch.nn.init.normal_(built.bin_offset)
    return built.eval()


def features(n_frames=60, batch=1):
    return 2 * torch.rand(batch, n_frames, 294, 2, generator=torch.Generator().manual_seed(1))


def score(n_frames=60, batch=1):
    generator = torch.Generator().manual_seed(2)
    onset = (torch.rand(batch, n_frames, 88, generator=generator) < 0.02).float()
    frame = torch.maximum(onset, onset.roll(1, dims=1))
    return ScoreRolls(onset, frame, onset * torch.rand(onset.shape, generator=generator))


@torch.inference_mode()
def test_velocities_are_shares_and_windows_answer_for_themselves():
    both = network().activations(features(20, batch=2), score(20, batch=2))
    assert [one.shape for one in both] == [(20, 88)] * 2
    assert 0 < min(one.min() for one in both) < max(one.max() for one in both) < 1
    second = ScoreRolls(*(roll[1:] for roll in score(20, batch=2)))
    (alone,) = network().activations(features(20, batch=2)[1:], second)
    np.testing.assert_allclose(both[1], alone, rtol=0, atol=1e-5)


@torch.inference_mode()
@pytest.mark.parametrize("roll", ScoreRolls._fields)
def test_every_roll_of_the_score_has_a_say_unless_it_is_left_out(roll):
    changed = score()
    getattr(changed, roll)[0, 30, 40] += 0.5
    told = [network()(features(), rolls) for rolls in (score(), changed)]
    near = (told[0] - told[1])[0, 30 - CONTEXT : 30 + CONTEXT + 1].abs()
    assert near.max() > 1e-4
    untold = network(replace(SMALL, score_informed=False))
    assert torch.equal(untold(features(), score()), untold(features(), changed))


@torch.inference_mode()
def test_but_for_the_level_it_hears_as_far_as_it_says_wherever_windows_are_cut(monkeypatch):
    monkeypatch.setattr(score_swift, "window_level", lambda features, score: 1.5)
    built = network()
    assert built.lookahead_frames == CONTEXT
    whole = built(features(), score())
    part = slice(7, 50)
    cut = built(features()[:, part], ScoreRolls(*(roll[:, part] for roll in score())))
    inner = slice(CONTEXT, -CONTEXT)
    torch.testing.assert_close(cut[:, inner], whole[:, part][:, inner], rtol=0, atol=1e-6)
    beyond = slice(CONTEXT - 1, -CONTEXT + 1)
    assert not torch.allclose(cut[:, beyond], whole[:, part][:, beyond], rtol=0, atol=1e-6)


@torch.inference_mode()
@pytest.mark.parametrize("n_frames", [1, 7, 24])
def test_pieces_of_a_window_give_what_the_window_gives(monkeypatch, n_frames):
    built = network()
    whole = built(features(batch=2), score(batch=2))
    monkeypatch.setattr(score_swift, "PIECE_FRAMES", n_frames)
    pieces = built(features(batch=2), score(batch=2))
    torch.testing.assert_close(pieces, whole, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_how_loud_a_recording_is_changes_nothing():
    built = network()
    quiet, loud = (built(features() + gain, score()) for gain in (0.0, 1.2))
    torch.testing.assert_close(quiet, loud, rtol=0, atol=1e-5)
    passage = features()
    passage[:, 30:] += 0.5
    assert (built(passage, score()) - quiet).abs().max() > 1e-3


def test_the_level_is_that_of_the_frames_in_which_the_score_has_notes():
    sound = torch.zeros(2, 4, 3, 2)
    sound[0, :, :, 0] = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None]  # as loud in all bins
    sound[1, 1, 0, 0] = 3.0  # 60 dB in one bin of three, 0 dB in the others
    rolls = score(4, batch=2)._replace(frame=torch.zeros(2, 4, 88))
    assert score_swift.window_level(sound, rolls).flatten().tolist() == [0, 0]
    rolls.frame[:, 1, [3, 40]] = 1
    rolls.frame[0, 3, 80] = 1
    one_of_three = (60 + 10 * np.log10((1 + 2e-6) / 3)) / 20
    found = score_swift.window_level(sound, rolls)
    assert found.shape == (2, 1, 1, 1)
    assert found.flatten().tolist() == pytest.approx([3.0, one_of_three], abs=1e-5)


def test_the_recipes_windows_overlap_by_what_it_hears_and_what_its_level_takes():
    recipe = read_toml(RECIPES_FOLDER / "velocity-swift.toml")
    names = ScoreSwiftConfig.__dataclass_fields__
    sizes = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in recipe["network"].items()
        if name in names
    }
    ahead_samples = ScoreSwift(ScoreSwiftConfig(**sizes)).lookahead_frames * 400
    length_samples = recipe["window"]["length_samples"]
    for window, around_s in ((recipe["window"], 40), (recipe["window"]["fast"], 20)):
        assert length_samples - window["hop_samples"] == 2 * window["padding_samples"]
        assert window["padding_samples"] == 16000 * around_s > ahead_samples


@torch.inference_mode()
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 0.06)])
def test_folding_changes_nothing_but_the_last_digits(precision, tolerance):
    built = network()
    (plain,) = built.activations(features(), score())
    names = set(built.state_dict())
    built.prepare(precision)
    (folded,) = built.activations(features(), score())
    assert set(built.state_dict()) == names
    assert 0 < np.abs(folded - plain).max() < tolerance
    assert folded.dtype == np.float32


def test_it_learns_a_velocity_that_neither_sound_nor_key_tells_apart_but_the_score():
    built = network().train()
    rolls = score(batch=4)
    wanted = 0.2 + 0.6 * rolls.held
    optimiser = torch.optim.Adam(built.parameters(), 0.01)
    begins = rolls.onset > 0
    losses = []
    for _ in range(40):
        loss = (built(features(batch=4), rolls) - wanted)[begins].abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.4 * float((wanted[begins] - wanted[begins].median()).abs().mean())


def test_without_a_score_nothing_is_built_that_does_not_learn():
    deaf = network(replace(SMALL, score_informed=False)).train()
    deaf(features(60, batch=2), score(60, batch=2)).square().mean().backward()
    assert all(p.grad is not None for p in deaf.parameters())
    n_deaf, n_informed = (sum(p.numel() for p in n.parameters()) for n in (deaf, network(SMALL)))
    assert n_deaf < n_informed
