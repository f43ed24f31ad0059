"""States: whole or refused, and never of another training."""

import dataclasses

import pytest
import torch
import toy_training as toy

from amtcli.errors import TrainingError
from amtcli.training.components import build_modules
from amtcli.training.hearing import Hearing
from amtcli.training.recipe import recipe_toml
from amtcli.training.state import (
    Progress,
    data_identity,
    gather_state,
    make_learner,
    read_state,
    restore_state,
    write_state,
)


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for registry, entry in toy.entries():
        monkeypatch.setitem(registry, "toy", entry)


def learner_after(recipe, n_steps):
    learner = make_learner(recipe, Hearing(*build_modules(recipe)))
    for step in range(n_steps):
        learner.optimiser.zero_grad()
        learner.hearing(torch.full((2, 3, toy.HOP_SAMPLES), 0.1 * step)).square().mean().backward()
        learner.optimiser.step()
        learner.average.update(learner.hearing.state_dict(), step + 1)
    return learner


def test_a_state_holds_all_that_learning_goes_on_from(tmp_path):
    recipe = toy.write_recipe(tmp_path, "network.dropout=0.0")
    learner = learner_after(recipe, 3)
    progress = Progress(3, 1.5, {"loss": 0.25}, 1, 2, {"onset_f1": 0.5}, 1)
    path, text = tmp_path / "state" / "last.pt", recipe_toml(recipe)
    write_state(path, gather_state(learner, progress, text, "data"))
    state = read_state(path, text, "data")
    other = learner_after(recipe, 1)
    assert restore_state(state, other) == progress
    for one in (learner, other):
        one.optimiser.zero_grad()
        one.hearing(torch.full((2, 3, toy.HOP_SAMPLES), 0.7)).square().mean().backward()
        one.optimiser.step()
        one.average.update(one.hearing.state_dict(), 4)
    for name, tensor in learner.hearing.state_dict().items():
        assert torch.equal(tensor, other.hearing.state_dict()[name]), name
        assert torch.equal(learner.average.tensors[name], other.average.tensors[name]), name


def test_damage_is_told_from_health(tmp_path):
    recipe = toy.write_recipe(tmp_path)
    path, text = tmp_path / "last.pt", recipe_toml(recipe)
    with pytest.raises(TrainingError, match="cannot be read: No such file"):
        read_state(path, text, "data")
    write_state(path, gather_state(learner_after(recipe, 1), Progress(), text, "data"))
    data = path.read_bytes()
    for damaged in (b"", b"something else", data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(TrainingError, match="is damaged, or no state"):
            read_state(path, text, "data")
    torch.save({"weights": torch.zeros(1)}, path)
    with pytest.raises(TrainingError, match="no state of a training that this amt can continue"):
        read_state(path, text, "data")


def test_another_recipe_and_other_recordings_are_refused(tmp_path):
    recipe = toy.write_recipe(tmp_path)
    path, text = tmp_path / "last.pt", recipe_toml(recipe)
    write_state(path, gather_state(learner_after(recipe, 1), Progress(), text, "data"))
    with pytest.raises(TrainingError, match="other recordings"):
        read_state(path, text, "others")
    write_state(path, gather_state(learner_after(recipe, 1), Progress(), text, "same-one"))
    with pytest.raises(TrainingError, match="the same recordings in another order"):
        read_state(path, text, "same-two")
    changed = recipe_toml(toy.write_recipe(tmp_path, "training.batch_size=4"))
    with pytest.raises(TrainingError, match=r"another recipe \(training.batch_size\)"):
        read_state(path, changed, "data")


def test_identity_follows_names_lengths_and_order(tmp_path):
    one = toy.write_pack(tmp_path / "one").split("train")
    again = toy.write_pack(tmp_path / "again").split("train")
    fewer = toy.write_pack(tmp_path / "fewer", n_recordings=2).split("train")
    assert data_identity(one) == data_identity(again)
    assert data_identity(one) != data_identity(fewer)
    assert data_identity(one) != data_identity(one[::-1])
    assert data_identity(one).split("-")[0] == data_identity(one[::-1]).split("-")[0]
    corrected = [dataclasses.replace(one[0], sha256="0" * 64), *one[1:]]
    assert data_identity(one) != data_identity(corrected)
