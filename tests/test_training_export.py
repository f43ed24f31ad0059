"""From a training to a model folder, while it goes on and when it has ended."""

import shutil

import pytest
import torch
import toy_training

from amtcli.errors import TrainingError, UsageError
from amtcli.model_config import read_config
from amtcli.model_folder import load_model
from amtcli.training.companions import Companions, Listener, Moment, Validation
from amtcli.training.export import complete_card, export_run, make_exporter
from amtcli.training.loop import TrainOptions, train


class Scripted:
    """Finds the second of four validations best, with a decoder of its own."""

    scores = (0.25, 0.75, 0.5, 0.625)

    def __init__(self, recipe):
        self.recipe = recipe
        self.weights = []

    def __call__(self, network, front_end):
        self.weights.append({k: v.clone() for k, v in network.state_dict().items()})
        score = self.scores[len(self.weights) - 1]
        return Validation({"onset_f1": score, "frame_f1": score / 2}, dict(self.recipe.decoder))


@pytest.fixture(autouse=True)
def known(monkeypatch, tmp_path):
    for registry, entry in toy_training.entries():
        monkeypatch.setitem(registry, "toy", entry)
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "models"))


@pytest.fixture
def trained(tmp_path):
    """A run of 12 steps, measured every 3; returns its folder and what its validator saw."""
    return run_of(tmp_path)


def run_of(tmp_path, *settings, scores=Scripted.scores):
    recipe = toy_training.write_recipe(tmp_path, "validation.every_steps=3", *settings)
    pack = toy_training.write_pack(tmp_path / "maps")
    run, learnt = tmp_path / "run", pack.split("train")
    validator = Scripted(recipe)
    validator.scores = scores
    exporter = make_exporter(recipe, [pack], learnt, run)
    options = TrainOptions(run, "cpu", n_workers=0)
    train(recipe, learnt, options, Companions(validator, exporter, Listener()))
    return run, validator


def weights_of(folder):
    return load_model(folder).network.state_dict()


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_best_is_exported_with_what_happened(trained, tmp_path):
    run, validator = trained
    exported = export_run(run, tmp_path / "out", "mine")
    assert (exported.name, exported.folder, exported.step) == ("mine", tmp_path / "out", 6)
    assert_same(weights_of(tmp_path / "out"), validator.weights[1])
    provenance = read_config(tmp_path / "out").provenance
    assert provenance.name == "mine"
    assert (provenance.steps, provenance.seed, provenance.licence) == (6, 7, "MIT")
    assert provenance.scores == {"onset_f1": 0.75, "frame_f1": 0.375}
    assert provenance.data == "maps (toy): 2 recordings, 0.0 h"
    assert "8 per step" in provenance.protocol
    assert torch.equal(load_model(tmp_path / "out").front_end.scale, torch.tensor(4.0))
    shutil.rmtree(tmp_path / "maps")  # packs may be gone by then
    export_run(run, tmp_path / "again", "mine")


def test_the_last_are_the_averaged_weights_of_the_last_state(trained, tmp_path):
    run, validator = trained
    exported = export_run(run, tmp_path / "out", weights="last")
    assert exported.step == 12
    assert_same(weights_of(tmp_path / "out"), validator.weights[3])
    assert read_config(tmp_path / "out").provenance.scores["onset_f1"] == 0.625
    state = torch.load(run / "state" / "last.pt", weights_only=True)
    assert not torch.equal(
        state["weights"]["network.last.bias"], state["average"]["network.last.bias"]
    )


def test_the_last_that_is_the_best_is_the_model_itself(tmp_path):
    measured = 'training.batch_statistics="measured"'
    run, _ = run_of(tmp_path, measured, scores=(0.25, 0.5, 0.625, 0.75))
    export_run(run, tmp_path / "out", weights="last")
    assert_same(weights_of(tmp_path / "out"), weights_of(run / "model"))
    assert read_config(tmp_path / "out").provenance == read_config(run / "model").provenance


def test_the_last_claim_no_scores_of_statistics_that_they_lack(tmp_path):
    run, _ = run_of(tmp_path, 'training.batch_statistics="measured"')
    export_run(run, tmp_path / "out", weights="last")
    assert read_config(tmp_path / "out").provenance.scores == {}


def test_the_last_claim_no_scores_of_thresholds_that_they_lack(tmp_path):
    decoder = ("kind=semi_crf", "sample_rate_hz=1000", "hop_samples=20")
    chosen = "validation.thresholds.hop_samples=[20]"
    run, _ = run_of(tmp_path, *(f"decoder.{setting}" for setting in decoder), chosen)
    assert read_config(run / "model").provenance.scores["onset_f1"] == 0.75
    export_run(run, tmp_path / "out", weights="last")
    assert read_config(tmp_path / "out").provenance.scores == {}
    assert "Not validated as it is" in (tmp_path / "out" / "README.md").read_text()


def test_a_state_of_another_version_is_refused_in_words(trained, tmp_path):
    run, _ = trained
    state = torch.load(run / "state" / "last.pt", weights_only=True)
    state["average"]["network.gone.weight"] = state["average"].pop("network.last.bias")
    torch.save(state, run / "state" / "last.pt")
    with pytest.raises(TrainingError, match=r"another version.*gone\.weight is unexpected"):
        export_run(run, tmp_path / "out", weights="last")
    assert not (tmp_path / "out").exists()


def test_a_state_that_is_not_finite_is_not_exported(trained, tmp_path):
    run, _ = trained
    state = torch.load(run / "state" / "last.pt", weights_only=True)
    state["average"]["network.last.bias"][3] = torch.nan
    torch.save(state, run / "state" / "last.pt")
    with pytest.raises(TrainingError, match=r"last\.pt holds weights.*: network\.last\.bias"):
        export_run(run, tmp_path / "out", weights="last")
    assert not (tmp_path / "out").exists()


def test_the_card_tells_of_what_came_after_the_best(trained):
    run, _ = trained
    path = run / "model" / "README.md"
    before = path.read_text()
    weights = weights_of(run / "model")
    complete_card(run)
    after = path.read_text()
    assert "| 12 | 0.6250 | 0.3125 |" in after
    assert "| 12 | 0.6250" not in before
    assert "| 6 | 0.7500 | 0.3750 |" in before
    assert "12 of 12" in after
    assert_same(weights_of(run / "model"), weights)


def test_without_a_folder_it_goes_where_models_are_found_by_name(trained, tmp_path):
    run, _ = trained
    assert export_run(run).folder == tmp_path / "models" / "toy"
    with pytest.raises(UsageError, match=r"models/toy is there already.*--as"):
        export_run(run)
    with pytest.raises(UsageError, match="cannot be called that"):
        export_run(run, name="a/b")
    with pytest.raises(UsageError, match="is there already"):
        export_run(run, tmp_path / "models" / "toy", "other")


def test_folders_that_are_no_runs_are_refused(trained, tmp_path):
    run, _ = trained
    with pytest.raises(TrainingError, match="is no run"):
        export_run(tmp_path)
    (run / "data.json").write_text("{}")
    with pytest.raises(TrainingError, match=r"data\.json is damaged"):
        export_run(run)
    (run / "data.json").unlink()
    with pytest.raises(TrainingError, match="no model yet"):
        export_run(run)


def test_a_model_that_was_never_measured_says_so(tmp_path):
    recipe = toy_training.write_recipe(tmp_path)
    pack = toy_training.write_pack(tmp_path / "pack")
    export = make_exporter(recipe, [pack], pack.split("train"), tmp_path / "run")
    (tmp_path / "run").mkdir()
    tensors = {
        "front_end.scale": torch.tensor(4.0),
        **{f"network.{k}": v for k, v in toy_network(recipe).state_dict().items()},
    }
    export(tensors, Moment(3, 60.0, None))
    config = read_config(tmp_path / "run" / "model")
    assert (config.provenance.steps, config.provenance.scores) == (3, {})
    assert "Not validated" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_the_card_counts_parameters_and_no_statistics(tmp_path):
    recipe = toy_training.write_recipe(tmp_path, "network.normalise=true")
    pack = toy_training.write_pack(tmp_path / "pack")
    export = make_exporter(recipe, [pack], pack.split("train"), tmp_path / "run")
    tensors = {f"network.{k}": v for k, v in toy_network(recipe).state_dict().items()}
    export(tensors, Moment(3, 60.0, None))
    n_parameters = (20 * 16 + 16) + 2 * 16 + (16 * 88 + 88)
    assert f"| {n_parameters:,} parameters |" in (tmp_path / "run/model/README.md").read_text()


def toy_network(recipe):
    settings = {k: v for k, v in recipe.network.items() if k != "architecture"}
    return toy_training.ToyNetwork(toy_training.ToyNetworkConfig(**settings))


def test_a_model_keeps_the_decoder_that_reached_its_scores(tmp_path):
    recipe = toy_training.write_recipe(tmp_path)
    pack = toy_training.write_pack(tmp_path / "pack")
    export = make_exporter(recipe, [pack], pack.split("train"), tmp_path / "run")
    tensors = {f"network.{k}": v for k, v in toy_network(recipe).state_dict().items()}
    decoder = {"kind": "semi_crf", "sample_rate_hz": 1000, "hop_samples": 20}
    export(tensors, Moment(3, 60.0, Validation({"onset_f1": 0.5}, decoder)))
    assert read_config(tmp_path / "run" / "model").decoder == decoder
