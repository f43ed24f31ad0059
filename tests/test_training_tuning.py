"""The search for settings: what it draws, what survives an interruption, what it refuses."""

import pytest
import toy_training
from filelock import FileLock

from amtcli.errors import ModelError, TrainingError, UsageError
from amtcli.training.companions import Companions, Listener, Validation
from amtcli.training.export import make_exporter
from amtcli.training.loop import TrainOptions, train
from amtcli.training.recipe import read_recipe
from amtcli.training.tuning import Range, default_space, read_space, tune
from amtcli.training.validation import make_validator

optuna = pytest.importorskip("optuna")

SPACE = {
    "optimiser.learning_rate": Range(1e-4, 1e-1, log=True),
    "network.width": Range(4, 64, log=False),
    "training.batch_size": (2, 4, 8),
}


@pytest.fixture(autouse=True)
def known(monkeypatch):
    for registry, entry in toy_training.entries():
        monkeypatch.setitem(registry, "toy", entry)


@pytest.fixture
def recipe(tmp_path):
    return toy_training.write_recipe(tmp_path)


class Notices(Listener):
    def __init__(self):
        self.texts = []

    def notice(self, text):
        self.texts.append(text)


class Scripted:
    """Scores a recipe by its settings, the best at a learning rate of 0.01 and a width of 32."""

    def __init__(self, interrupt_at=None, fail_at=(), curve=()):
        self.interrupt_at, self.fail_at, self.curve = interrupt_at, fail_at, curve
        self.seen = []

    def __call__(self, recipe, folder, listener):
        number = int(folder.name)
        settings = (
            recipe.optimiser.learning_rate,
            recipe.network["width"],
            recipe.training.batch_size,
        )
        self.seen.append((number, *settings))
        if number == self.interrupt_at:
            raise KeyboardInterrupt
        if number in self.fail_at:
            raise TrainingError("training broke down")
        for step, score in enumerate(self.curve):
            validation = Validation({"onset_f1": score(number)}, {})
            listener.validated(step, validation, best=True)
        return 1 - abs(settings[0] - 0.01) - abs(settings[1] - 32) / 100


def search(recipe, folder, run_trial, n_trials=4, space=SPACE, listener=None):
    return tune(recipe, space, n_trials, folder, run_trial, listener or Listener())


def test_settings_are_drawn_from_the_space_and_the_best_is_named(recipe, tmp_path):
    trial, notices = Scripted(), Notices()
    tuned = search(recipe, tmp_path / "run", trial, listener=notices)
    assert [number for number, *_ in trial.seen] == list(range(4))
    for _, rate, width, batch_size in trial.seen:
        assert 1e-4 <= rate <= 1e-1
        assert 4 <= width <= 64 and isinstance(width, int)
        assert batch_size in (2, 4, 8)
    assert len({rate for _, rate, *_ in trial.seen}) == 4
    scores = [1 - abs(rate - 0.01) - abs(width - 32) / 100 for _, rate, width, _ in trial.seen]
    assert tuned.score == pytest.approx(max(scores))
    assert tuned.number == scores.index(max(scores))
    assert tuned.folder == tmp_path / "run" / "trials" / str(tuned.number)
    assert tuned.settings["network.width"] == trial.seen[tuned.number][2]
    assert tuned.n_trials == 4
    assert f"onset_f1 {scores[0]:.4f}" in notices.texts[0]


def test_an_interrupted_search_draws_the_same_trials(recipe, tmp_path):
    whole, first, second = Scripted(), Scripted(interrupt_at=2), Scripted()
    search(recipe, tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        search(recipe, tmp_path / "parts", first)
    tuned = search(recipe, tmp_path / "parts", second)
    assert first.seen == whole.seen[:3]
    assert second.seen == whole.seen[2:]  # the interrupted one goes on in its own folder
    assert tuned.n_trials == 4
    third = Scripted()
    search(recipe, tmp_path / "parts", third)
    assert third.seen == []  # there are as many as were asked for


def test_trials_that_break_down_count_and_the_others_go_on(recipe, tmp_path):
    trial, notices = Scripted(fail_at=(0, 2)), Notices()
    tuned = search(recipe, tmp_path / "run", trial, n_trials=4, listener=notices)
    assert len(trial.seen) == 4
    assert tuned.number in (1, 3)
    assert "training broke down" in notices.texts[2]
    with pytest.raises(TrainingError, match="none of the 2 trials"):
        search(recipe, tmp_path / "bad", Scripted(fail_at=(0, 1)), n_trials=2)


def test_a_hopeless_trial_is_cut_short(recipe, tmp_path):
    notices = Notices()
    curve = [lambda number: 0.1 if number == 6 else 0.5 + number / 100] * 2
    search(recipe, tmp_path / "run", Scripted(curve=curve), n_trials=7, listener=notices)
    assert notices.texts[6].endswith(": cut short")
    assert sum(text.endswith("cut short") for text in notices.texts) == 1


def test_a_search_trains_and_its_best_trial_is_a_model(recipe, tmp_path):
    recipe = toy_training.write_recipe(
        tmp_path, "validation.metric=neg_loss", "training.steps=6", "validation.every_steps=3"
    )
    pack = toy_training.write_pack(tmp_path / "pack")
    learnt = pack.split("train")

    def run_trial(own, folder, listener):
        companions = Companions(
            make_validator(own, pack.split("validation")),
            make_exporter(own, [pack], learnt, folder),
            listener,
        )
        options = TrainOptions(folder, "cpu", n_workers=0, resume="auto")
        return train(own, learnt, options, companions).scores["neg_loss"]

    space = {"optimiser.learning_rate": (1e-6, 0.03)}
    tuned = search(recipe, tmp_path / "run", run_trial, n_trials=3, space=space)
    assert tuned.settings == {"optimiser.learning_rate": 0.03}
    assert read_recipe(tuned.folder / "recipe.toml").optimiser.learning_rate == 0.03
    assert (tuned.folder / "model" / "model.toml").exists()


def test_without_a_space_the_learning_rate_is_searched(recipe):
    (values,) = default_space(recipe).values()
    assert (values.low, values.high) == pytest.approx((0.001, 0.1))
    assert list(default_space(recipe)) == ["optimiser.learning_rate"]


def test_a_space_is_read_from_a_file(tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[optimiser]\nlearning_rate = { low = 1e-4, high = 1e-2, log = true }\n"
        '[training]\nbatch_size = [4, 8]\nprecision = ["bf16", "float32"]\n'
    )
    assert read_space(path) == {
        "optimiser.learning_rate": Range(1e-4, 1e-2, log=True),
        "training.batch_size": (4, 8),
        "training.precision": ("bf16", "float32"),
    }


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "names nothing"),
        ("steps = [1]", "'steps' must be a table"),
        ("[training]\nsteps = 3", r"training\.steps must be a list"),
        ("[training]\nsteps = { low = 1, high = 2 }", "'log' is missing"),
        ("[training]\nsteps = { low = 2, high = 1, log = false }", "low must be below high"),
        ("[training]\nsteps = { low = 0, high = 1, log = true }", "low must be above 0"),
    ],
)
def test_a_space_that_says_nothing_sensible_is_refused(tmp_path, text, match):
    path = tmp_path / "space.toml"
    path.write_text(text)
    with pytest.raises(ModelError, match=match) as caught:
        read_space(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({"optimiser.rate": (1, 2)}, r"no optimiser\.rate"),
        ({"optimiser.learning_rate": (0.1, -1.0)}, "learning_rate"),
        ({"training.batch_size": Range(1, 2.5, log=False)}, "whole number"),
        ({"optimiser.kind": Range(1, 2, log=False)}, "no number in the recipe"),
    ],
)
def test_a_space_that_does_not_fit_the_recipe_is_refused_before_any_trial(
    recipe, tmp_path, space, match
):
    trial = Scripted()
    with pytest.raises(ModelError, match=match):
        search(recipe, tmp_path / "run", trial, space=space)
    assert trial.seen == []


def test_whole_numbers_are_drawn_from_their_range(recipe, tmp_path):
    trial = Scripted()
    space = {**SPACE, "training.batch_size": Range(2.0, 9.0, log=False)}
    search(recipe, tmp_path / "run", trial, space=space)
    assert {batch_size for *_, batch_size in trial.seen} <= set(range(2, 10))
    assert len(trial.seen) == 4


def test_tables_within_tables_can_be_searched(recipe, tmp_path):
    path = tmp_path / "space.toml"
    path.write_text(
        "[validation.thresholds]\nx = [1, 2]\n[a.b]\ny = { low = 1, high = 2, log = false }\n"
    )
    assert read_space(path) == {
        "validation.thresholds.x": (1, 2),
        "a.b.y": Range(1.0, 2.0, log=False),
    }


def test_another_space_is_refused_and_leaves_the_search_as_it_was(recipe, tmp_path):
    run, before, after = tmp_path / "run", Scripted(), Scripted()
    search(recipe, run, before, n_trials=1)
    for values in ((2, 4, 8, 16), (2, 4)):
        with pytest.raises(UsageError, match="a search in another space"):
            search(recipe, run, Scripted(), space={**SPACE, "training.batch_size": values})
    search(recipe, run, after, n_trials=2)
    whole = Scripted()
    search(recipe, tmp_path / "whole", whole, n_trials=2)
    assert before.seen + after.seen == whole.seen


def test_a_trial_whose_settings_were_not_all_drawn_is_passed_over(recipe, tmp_path):
    run, trial = tmp_path / "run", Scripted()
    search(recipe, run, Scripted(), n_trials=1)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'tuning.db'}")
    study.ask()
    assert search(recipe, run, trial, n_trials=3).n_trials == 3
    assert [number for number, *_ in trial.seen] == [2]


def test_what_happens_in_a_trial_is_passed_on(recipe, tmp_path):
    told = []

    class Told(Listener):
        def started(self, step, n_steps, description):
            told.append(("started", step, n_steps, description))

        def stepped(self, step, report):
            told.append(("stepped", step, report))

    def run_trial(recipe, folder, listener):
        listener.started(0, 9, "cpu")
        listener.stepped(1, "report")
        return 1.0

    search(recipe, tmp_path / "run", run_trial, n_trials=1, listener=Told())
    assert told == [("started", 0, 9, "cpu"), ("stepped", 1, "report")]


def test_one_search_per_folder(recipe, tmp_path, monkeypatch):
    run = tmp_path / "run"
    search(recipe, run, Scripted(), n_trials=1)
    other = toy_training.write_recipe(tmp_path, "training.seed=8")
    with pytest.raises(UsageError, match=r"recipe\.toml is another recipe"):
        search(other, run, Scripted())
    with FileLock(run / ".tuning.db.lock"), pytest.raises(UsageError, match="another process"):
        search(recipe, run, Scripted())
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="torchrun"):
        search(recipe, run, Scripted())
