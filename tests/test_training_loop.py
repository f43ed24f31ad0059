"""The loop: exact resumption, the best model, and every way of ending."""

import dataclasses
import os
import shutil
import signal
import threading

import pytest
import torch
import toy_training as toy

from amtcli.datasets.performances import CLOCK_HZ
from amtcli.errors import TrainingError, UsageError
from amtcli.training.batches import WindowMaker
from amtcli.training.checks import check_recordings
from amtcli.training.companions import Companions, Listener, Validation
from amtcli.training.components import build_components
from amtcli.training.log import read_log
from amtcli.training.loop import TrainOptions, train
from amtcli.training.recipe import find_recipe, read_recipe
from amtcli.training.run_folder import NOT_FINITE_FILE, STATE_FILE


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


class Watcher(Listener):
    """Keeps what it is told; interrupts itself after the step ``stop_after``."""

    def __init__(self, stop_after=None):
        self.steps, self.notices, self.validations = [], [], []
        self.stop_after = stop_after

    def stepped(self, step, report):
        self.steps.append(step)
        if step == self.stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def validated(self, step, validation, *, best):
        self.validations.append((step, validation.scores["onset_f1"], best))

    def notice(self, text):
        self.notices.append(text)


class Scores:
    """A validator that gives scores from a list, one after the other."""

    def __init__(self, *values):
        self.values = list(values)

    def __call__(self, network, front_end):
        assert not network.training
        return Validation({"onset_f1": self.values.pop(0)}, {"kind": "toy"})


class Kept:
    """An exporter that keeps what it is given."""

    def __init__(self):
        self.models = []

    def __call__(self, tensors, moment):
        self.models.append((moment.step, {name: t.clone() for name, t in tensors.items()}))


def run(
    tmp_path,
    recordings,
    *overrides,
    name="run",
    watcher=None,
    validator=None,
    measure="",
    **options,
):
    recipe = toy.write_recipe(tmp_path, *overrides)
    kept = Kept()
    companions = Companions(validator, kept, watcher or Watcher(), measure)
    options = TrainOptions(tmp_path / name, **{"device": "cpu", "n_workers": 0} | options)
    return train(recipe, recordings, options, companions), kept


def state_of(tmp_path, name):
    state = torch.load(tmp_path / name / STATE_FILE, weights_only=True)
    state["progress"].pop("elapsed_s")
    return state


def same(one, other):
    """Compare nested states bit for bit."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def curve(tmp_path, name, *names):
    """Return what a log says that does not depend on the clock."""
    return [
        (line["kind"], line["step"], *(line.get(n) for n in ("loss", "level", "onset_f1")))
        for line in read_log(tmp_path / name)
        if line["kind"] != "start"
    ]


@pytest.mark.parametrize("stop_after", [1, 5, 6, 10])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, recordings, stop_after):
    overrides = ("network.normalise=true", "training.accumulation=2")
    scores = 0.5, 0.75
    whole, whole_models = run(
        tmp_path, recordings, *overrides, name="whole", validator=Scores(*scores)
    )
    parts = Scores(*scores)
    with pytest.raises(KeyboardInterrupt):
        run(
            tmp_path,
            recordings,
            *overrides,
            name="parts",
            watcher=Watcher(stop_after),
            validator=parts,
        )
    watcher = Watcher()
    resumed, models = run(
        tmp_path,
        recordings,
        *overrides,
        name="parts",
        watcher=watcher,
        validator=parts,
        resume="auto",
    )
    assert watcher.steps == list(range(stop_after + 2, 13))
    assert same(state_of(tmp_path, "whole"), state_of(tmp_path, "parts"))
    assert same(whole_models.models[-1], models.models[-1])
    assert curve(tmp_path, "whole") == curve(tmp_path, "parts")
    assert resumed.scores == whole.scores == {"onset_f1": 0.75}


def test_a_front_end_that_learns_learns_and_goes_on(tmp_path, recordings, monkeypatch):
    toy.learning_front_end(monkeypatch)
    heard = []

    def validator(network, front_end):
        heard.append(front_end.scale.item())
        return Validation({"onset_f1": len(heard) / 10}, {"kind": "toy"})

    where = {"validator": validator}
    _, whole = run(tmp_path, recordings, "front_end.kind=learning", name="whole", **where)
    scale = whole.models[-1][1]["front_end.scale"].item()
    assert heard[-1] == scale != 4.0
    with pytest.raises(KeyboardInterrupt):
        watcher = Watcher(7)
        run(tmp_path, recordings, "front_end.kind=learning", name="a", watcher=watcher, **where)
    resumed = {"resume": "auto", **where}
    _, parts = run(tmp_path, recordings, "front_end.kind=learning", name="a", **resumed)
    assert same(whole.models[-1][1], parts.models[-1][1])


@pytest.mark.gpu
def test_on_a_gpu_interrupted_and_resumed_equals_uninterrupted(tmp_path, recordings):
    overrides = ("network.normalise=true", "training.accumulation=2", "training.precision=bf16")
    where = {"device": "cuda", "n_workers": 2}
    run(tmp_path, recordings, *overrides, name="whole", **where)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recordings, *overrides, name="parts", watcher=Watcher(5), **where)
    run(tmp_path, recordings, *overrides, name="parts", resume="auto", **where)
    assert same(state_of(tmp_path, "whole"), state_of(tmp_path, "parts"))


def test_workers_change_nothing(tmp_path, recordings):
    for n_workers in (0, 1):
        recipe = toy.write_recipe(tmp_path)
        options = TrainOptions(tmp_path / f"run{n_workers}", "cpu", n_workers)
        train(recipe, recordings, options, Companions(None, Kept(), Listener()))
    assert same(state_of(tmp_path, "run0"), state_of(tmp_path, "run1"))


def test_it_learns(tmp_path, recordings):
    run(tmp_path, recordings, "training.steps=60", "training.log_every_steps=20")
    losses = [line["loss"] for line in read_log(tmp_path / "run") if line["kind"] == "train"]
    assert losses[-1] < 0.5 * losses[0]


def test_the_log_holds_means_since_the_line_before(tmp_path, recordings):
    run(tmp_path, recordings, "training.log_every_steps=1", name="each")
    run(tmp_path, recordings, "training.log_every_steps=4", name="four")
    each = [line["loss"] for line in read_log(tmp_path / "each") if line["kind"] == "train"]
    four = [line["loss"] for line in read_log(tmp_path / "four") if line["kind"] == "train"]
    assert four == pytest.approx([sum(each[i : i + 4]) / 4 for i in (0, 4, 8)])


def test_the_model_is_the_best_and_made_of_the_average(tmp_path, recordings):
    watcher = Watcher()
    outcome, kept = run(
        tmp_path,
        recordings,
        "validation.every_steps=3",
        watcher=watcher,
        validator=Scores(0.2, 0.6, 0.6, 0.4),
    )
    assert watcher.validations == [
        (3, 0.2, True),
        (6, 0.6, True),
        (9, 0.6, False),
        (12, 0.4, False),
    ]
    assert [step for step, _ in kept.models] == [3, 6]
    assert (outcome.reason, outcome.step, outcome.scores) == ("all steps", 12, {"onset_f1": 0.6})
    again, _ = run(tmp_path, recordings, "training.steps=12", name="other")
    state = state_of(tmp_path, "run")
    assert not torch.equal(
        state["average"]["network.last.bias"], state["weights"]["network.last.bias"]
    )
    names = {*state["average"], "front_end.scale"}
    assert kept.models[-1][1].keys() == names
    assert again.step == 12


def test_without_average_the_model_has_the_weights_themselves(tmp_path, recordings):
    _, kept = run(tmp_path, recordings, "training.ema_decay=0.0")
    state = state_of(tmp_path, "run")
    assert state["average"] is None
    assert torch.equal(
        kept.models[-1][1]["network.last.bias"], state["weights"]["network.last.bias"]
    )


NORM = ("network.norm.running_mean", "network.norm.running_var")


def test_measured_statistics_are_those_of_the_weights_that_are_written(tmp_path, recordings):
    overrides = ("network.normalise=true", "training.batch_statistics=measured")
    _, kept = run(tmp_path, recordings, *overrides)
    model = kept.models[-1][1]
    recipe = toy.write_recipe(tmp_path, *overrides)
    parts = build_components(recipe)
    maker = WindowMaker(recordings, parts.objective, recipe.sampling, None, recipe.training.seed)
    means, variances = [], []
    for step in range(12, 24):
        samples = torch.from_numpy(maker.batch(step, range(8)).inputs)
        features = model["front_end.scale"] * samples.unflatten(1, (-1, toy.HOP_SAMPLES))
        weight, bias = model["network.first.weight"], model["network.first.bias"]
        heard = torch.nn.functional.linear(features, weight, bias).flatten(0, 1)
        means.append(heard.mean(dim=0))
        variances.append(heard.var(dim=0))
    torch.testing.assert_close(model[NORM[0]], torch.stack(means).mean(dim=0))
    torch.testing.assert_close(model[NORM[1]], torch.stack(variances).mean(dim=0))


def test_measuring_statistics_changes_nothing_in_training(tmp_path, recordings):
    for way in ("running", "measured"):
        settings = ("network.normalise=true", f"training.batch_statistics={way}")
        run(tmp_path, recordings, *settings, name=way, validator=Scores(0.5, 0.6))
    one, other = (state_of(tmp_path, name) for name in ("running", "measured"))
    assert same(one["weights"], other["weights"])


def test_fixed_statistics_are_those_that_training_begins_with(tmp_path, recordings):
    _, kept = run(tmp_path, recordings, "network.normalise=true", "training.batch_statistics=fixed")
    mean, variance = (kept.models[-1][1][name] for name in NORM)
    assert mean.tolist() == [0.0] * 16
    assert variance.tolist() == [1.0] * 16


def test_patience_ends_what_does_not_improve(tmp_path, recordings):
    outcome, _ = run(
        tmp_path,
        recordings,
        "validation.every_steps=2",
        "validation.patience=2",
        validator=Scores(0.5, 0.4, 0.5, 0.9),
    )
    assert (outcome.reason, outcome.step) == ("no better", 6)


def test_the_time_limit_ends_with_a_measured_model_and_can_go_on(tmp_path, recordings):
    validator = Scores(0.5, 0.6, 0.7)
    outcome, kept = run(tmp_path, recordings, validator=validator, time_limit_s=0.0)
    assert (outcome.reason, outcome.step, outcome.scores) == ("time limit", 1, {"onset_f1": 0.5})
    assert [step for step, _ in kept.models] == [1]
    outcome, _ = run(tmp_path, recordings, validator=validator, resume="auto")
    assert (outcome.reason, outcome.step, outcome.scores) == ("all steps", 12, {"onset_f1": 0.7})


def test_a_finished_run_says_again_what_it_reached(tmp_path, recordings):
    first, _ = run(tmp_path, recordings, validator=Scores(0.5, 0.6))
    again, kept = run(tmp_path, recordings, validator=Scores(), resume="auto")
    assert again == first
    assert kept.models == []


def test_an_unknown_metric_is_named_with_those_that_are_known(tmp_path, recordings):
    with pytest.raises(UsageError, match=r"metric 'f1'.*onset_f1"):
        run(tmp_path, recordings, "validation.metric=f1", validator=Scores(0.5))


def test_a_loss_that_is_no_number_stops_with_the_state_saved(tmp_path):
    recordings = toy.write_pack(tmp_path / "pack", pitches=(60, 60, 60, 60, 100)).split("train")
    overrides = ("objective.poison=true", "training.batch_size=1", "training.save_every_steps=1")
    with pytest.raises(TrainingError, match=r"broke down in step \d+: loss inf.*not_finite\.pt"):
        run(tmp_path, recordings, *overrides, "training.steps=50")
    saved = torch.load(tmp_path / "run" / NOT_FINITE_FILE, weights_only=True)
    last = torch.load(tmp_path / "run" / STATE_FILE, weights_only=True)
    assert saved["progress"]["step"] == last["progress"]["step"] > 0
    assert same(saved["weights"], last["weights"])
    assert all(torch.isfinite(tensor).all() for tensor in saved["weights"].values())


def test_weights_that_are_not_finite_are_neither_measured_nor_exported(tmp_path, recordings):
    destructive = (
        "optimiser.learning_rate=1e30",
        "optimiser.weight_decay=1e30",
        "training.steps=1",
    )
    with pytest.raises(TrainingError, match=r"by step 1: network\..* others.*not_finite\.pt"):
        run(tmp_path, recordings, *destructive, validator=Scores())
    assert (tmp_path / "run" / NOT_FINITE_FILE).exists()
    assert not (tmp_path / "run" / STATE_FILE).exists()


def test_statistics_that_are_not_finite_are_no_model(tmp_path, recordings, monkeypatch):
    def spoil(hearing, loss, batches):
        hearing.network.norm.running_var.fill_(torch.inf)

    monkeypatch.setattr("amtcli.training.loop.measure_statistics", spoil)
    overrides = ("network.normalise=true", "training.batch_statistics=measured")
    with pytest.raises(
        TrainingError, match=r"by step 6: network\.norm\.running_var in the weights"
    ):
        run(tmp_path, recordings, *overrides, validator=Scores())
    assert state_of(tmp_path, "run")["progress"]["step"] == 6


def test_a_folder_with_a_training_is_not_begun_anew(tmp_path, recordings):
    run(tmp_path, recordings)
    with pytest.raises(UsageError, match="--resume auto continues it"):
        run(tmp_path, recordings)


def test_resuming_where_there_is_nothing_begins(tmp_path, recordings):
    outcome, _ = run(tmp_path, recordings, resume="auto")
    assert outcome.step == 12


def test_a_state_elsewhere_is_gone_on_from(tmp_path, recordings):
    run(tmp_path, recordings, name="one")
    watcher = Watcher()
    state = tmp_path / "one" / STATE_FILE
    run(tmp_path, recordings, name="two", watcher=watcher, resume=str(state))
    assert watcher.steps == []
    assert same(state_of(tmp_path, "one"), state_of(tmp_path, "two"))


def test_a_state_elsewhere_takes_no_trainings_place(tmp_path, recordings):
    for name in ("one", "two"):
        run(tmp_path, recordings, name=name)
    before = state_of(tmp_path, "two")
    with pytest.raises(UsageError, match="two holds another training"):
        run(tmp_path, recordings, name="two", resume=str(tmp_path / "one" / STATE_FILE))
    assert same(state_of(tmp_path, "two"), before)
    kept = tmp_path / "two" / "state" / "kept.pt"  # a copy of its own it may go back to
    shutil.copy(tmp_path / "two" / STATE_FILE, kept)
    run(tmp_path, recordings, name="two", resume=str(kept))


def test_measured_otherwise_the_best_is_chosen_anew(tmp_path, recordings):
    with pytest.raises(KeyboardInterrupt):
        stopping = Watcher(stop_after=7)
        run(tmp_path, recordings, watcher=stopping, validator=Scores(0.9), measure="easy")
    watcher = Watcher()
    outcome, kept = run(
        tmp_path,
        recordings,
        watcher=watcher,
        validator=Scores(0.5),
        measure="hard",
        resume="auto",
    )
    assert outcome.scores == {"onset_f1": 0.5}
    assert [step for step, _ in kept.models] == [12]
    assert watcher.notices == ["measured otherwise than before: the best model is chosen anew"]
    assert [
        line["step"] for line in read_log(tmp_path / "run") if line["kind"] == "validation"
    ] == [12]


def test_gone_on_from_elsewhere_the_folder_gets_a_model_however_good_the_other_was(
    tmp_path, recordings
):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, recordings, name="one", watcher=Watcher(stop_after=7), validator=Scores(0.9))
    state = str(tmp_path / "one" / STATE_FILE)
    outcome, kept = run(tmp_path, recordings, name="two", validator=Scores(0.5), resume=state)
    assert [step for step, _ in kept.models] == [12]
    assert outcome.scores == {"onset_f1": 0.5}
    # The folder itself still knows its best.
    _, kept = run(tmp_path, recordings, name="one", validator=Scores(0.5), resume=state)
    assert kept.models == []


def test_what_fails_in_a_validation_has_cost_no_step(tmp_path, recordings):
    def broken(network, front_end):
        raise TrainingError("validation: a.wav cannot be read")

    with pytest.raises(TrainingError, match="cannot be read"):
        run(tmp_path, recordings, name="parts", validator=broken)
    assert state_of(tmp_path, "parts")["progress"]["step"] == 6
    watcher = Watcher()
    run(
        tmp_path,
        recordings,
        name="parts",
        watcher=watcher,
        validator=Scores(0.5, 0.75),
        resume="auto",
    )
    assert watcher.steps == list(range(7, 13))
    assert watcher.validations == [(6, 0.5, True), (12, 0.75, True)]
    run(tmp_path, recordings, name="whole", validator=Scores(0.5, 0.75))
    assert same(state_of(tmp_path, "whole"), state_of(tmp_path, "parts"))
    assert curve(tmp_path, "whole") == curve(tmp_path, "parts")


def test_nothing_to_learn_from_is_said(tmp_path, recordings):
    with pytest.raises(TrainingError, match="no recording of the split train"):
        run(tmp_path, ())
    other = [dataclasses.replace(recordings[0], sample_rate_hz=44100)]
    with pytest.raises(TrainingError, match=r"packed at 44100 Hz.*--sample-rate 1000"):
        run(tmp_path, other)


def test_packs_with_and_without_sound_are_told_apart(tmp_path, recordings):
    heard = read_recipe(find_recipe("two-core"))
    silent = [dataclasses.replace(recordings[0], sample_rate_hz=CLOCK_HZ)]
    with pytest.raises(TrainingError, match="there is none in a pack of performances"):
        check_recordings(heard, silent)
    told = read_recipe(find_recipe("metre"))
    sounding = [dataclasses.replace(recordings[0], sample_rate_hz=16000)]
    with pytest.raises(TrainingError, match="amt pack performances"):
        check_recordings(told, sounding)


def test_windows_longer_than_every_recording_are_refused(tmp_path, recordings):
    assert [recording.n_samples for recording in recordings] == [2000, 3000]
    check_recordings(toy.write_recipe(tmp_path, "sampling.length_samples=3000"), recordings)
    with pytest.raises(
        TrainingError, match=r"length_samples is 3020.*piece1, has 3000: choose sho"
    ):
        run(tmp_path, recordings, "sampling.length_samples=3020")
    assert not (tmp_path / "run").exists()


def test_the_debugger_opens_before_the_next_step(tmp_path, recordings, monkeypatch):
    opened = []

    class Asking(Watcher):
        def stepped(self, step, report):
            super().stepped(step, report)
            if step == 4:
                (tmp_path / "run" / "debug").touch()

    watcher = Asking()
    monkeypatch.setattr("sys.breakpointhook", lambda: opened.append(list(watcher.steps)))
    run(tmp_path, recordings, watcher=watcher)
    assert opened == [[1, 2, 3, 4]]
    assert watcher.steps[-1] == 12


def test_without_terminal_the_debugger_is_refused_with_a_notice(tmp_path, recordings, monkeypatch):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "debug").touch()
    monkeypatch.setattr("amtcli.training.loop.can_debug", lambda: False)
    watcher = Watcher()
    run(tmp_path, recordings, watcher=watcher)
    assert watcher.notices == ["no debugger: standard input is no terminal"]


def test_no_thread_is_left(tmp_path, recordings):
    before = threading.active_count()
    run(tmp_path, recordings)
    assert threading.active_count() == before
