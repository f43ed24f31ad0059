"""Training that begins with a model's weights."""

import pytest
import torch
import toy_training as toy

from amtcli.errors import ModelError
from amtcli.model_config import CARD_FILE
from amtcli.model_folder import load_model
from amtcli.training.companions import Companions, Listener
from amtcli.training.components import build_modules
from amtcli.training.export import complete_card, make_exporter
from amtcli.training.hearing import Hearing
from amtcli.training.initial import load_initial_weights
from amtcli.training.loop import TrainOptions, train


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for registry, entry in toy.entries():
        monkeypatch.setitem(registry, "toy", entry)


def run(tmp_path, name, *overrides, **options):
    """Train the toy; returns the folder of the run."""
    pack = toy.write_pack(tmp_path / "pack")
    learnt, folder = pack.split("train"), tmp_path / name
    recipe = toy.write_recipe(tmp_path, *overrides)
    exporter = make_exporter(recipe, [pack], learnt, folder)
    options = TrainOptions(folder, "cpu", n_workers=0, **options)
    train(recipe, learnt, options, Companions(None, exporter, Listener()))
    return folder


def weights(folder):
    return load_model(folder / "model").network.state_dict()


def test_all_weights_and_batch_statistics_are_taken_over(tmp_path):
    first = run(tmp_path, "first", "network.normalise=true")
    hearing = Hearing(*build_modules(toy.write_recipe(tmp_path, "network.normalise=true")))
    assert load_initial_weights(hearing, [first / "model"]) == "toy 12"
    network = hearing.network
    assert all(torch.equal(network.state_dict()[k], v) for k, v in weights(first).items())
    assert network.state_dict()["norm.running_mean"].abs().max() > 0


def test_several_models_give_their_mean(tmp_path):
    runs = [run(tmp_path, f"run{seed}", f"training.seed={seed}") for seed in (1, 2)]
    hearing = Hearing(*build_modules(toy.write_recipe(tmp_path)))
    folders = [folder / "model" for folder in runs]
    assert load_initial_weights(hearing, folders) == "toy 12 and toy 12 (their mean)"
    one, two = (weights(folder) for folder in runs)
    assert not torch.equal(one["first.weight"], two["first.weight"])
    for name, tensor in hearing.network.state_dict().items():
        torch.testing.assert_close(tensor, (one[name] + two[name]) / 2)


def test_a_front_end_that_learns_begins_with_the_models(tmp_path, monkeypatch):
    toy.learning_front_end(monkeypatch)
    first = run(tmp_path, "first", "front_end.kind=learning")
    hearing = Hearing(*build_modules(toy.write_recipe(tmp_path, "front_end.kind=learning")))
    assert hearing.front_end.scale == 4.0
    load_initial_weights(hearing, [first / "model"])
    assert hearing.front_end.scale == load_model(first / "model").front_end.scale != 4.0


def test_a_run_begins_where_the_model_stands_and_its_card_says_so(tmp_path):
    first = run(tmp_path, "first")
    slow = ("optimiser.learning_rate=1e-9", "training.steps=1", "training.seed=8")
    second = run(tmp_path, "second", *slow, init=(first / "model",))
    for name, tensor in weights(first).items():
        torch.testing.assert_close(weights(second)[name], tensor, rtol=0, atol=1e-6)
    complete_card(second)
    assert "| Begun with the weights of | toy 12 |" in (second / "model" / CARD_FILE).read_text()


def test_going_on_takes_the_state_not_the_model(tmp_path):
    first = run(tmp_path, "first")
    whole = run(tmp_path, "whole", "training.seed=8")
    again = run(tmp_path, "whole", "training.seed=8", init=(first / "model",), resume="auto")
    assert all(torch.equal(weights(again)[k], v) for k, v in weights(whole).items())


def test_what_does_not_fit_is_named(tmp_path):
    first = run(tmp_path, "first")
    recipe = toy.write_recipe(tmp_path, "network.width=8", "network.normalise=true")
    hearing = Hearing(*build_modules(recipe))
    before = {name: tensor.clone() for name, tensor in hearing.state_dict().items()}
    with pytest.raises(ModelError, match=r"toy 12 .* network.first.bias is \(16,\), not \(8,\)"):
        load_initial_weights(hearing, [first / "model"])
    assert all(torch.equal(hearing.state_dict()[k], v) for k, v in before.items())
