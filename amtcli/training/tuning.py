"""Searching for better settings of a recipe with Optuna: many short runs, the best one named.

``RUN/tuning.db`` holds the study (SQLite, which Optuna's own tools read), ``RUN/trials/<n>`` the
run of each trial. The search goes on where it was interrupted, inside a trial as well.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from amtcli.errors import AmtError, ModelError, TrainingError, UsageError
from amtcli.files import write_atomically
from amtcli.tables import from_table, read_toml
from amtcli.training.companions import Listener, Validation
from amtcli.training.recipe import Recipe, read_recipe, recipe_toml
from amtcli.training.stepping import StepReport

if TYPE_CHECKING:
    import optuna

STUDY_FILE = "tuning.db"
BASE_FILE = "recipe.toml"
TRIALS_FOLDER = "trials"

_LEARNING_RATE = "optimiser.learning_rate"
_DECADE = 10.0
_SPACE = "space"
_RANGE_KEYS = {"low", "high", "log"}


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``; with ``log``, equally likely per factor, not distance."""

    low: float
    high: float
    log: bool

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 where log is true")


Space = Mapping[str, Range | tuple[Any, ...]]
"""What to choose each setting from, by its name in the recipe, as ``optimiser.learning_rate``."""

RunTrial = Callable[[Recipe, Path, Listener], float]
"""Trains by a recipe into a folder, going on where there is a state; returns the best score."""


@dataclass(frozen=True)
class Tuned:
    """The best trial: its number, folder, score and settings, and how many trials there were."""

    number: int
    folder: Path
    score: float
    settings: dict[str, Any]
    n_trials: int


def default_space(recipe: Recipe) -> Space:
    """Search the learning rate alone, ten times below to ten times above the recipe's."""
    rate = recipe.optimiser.learning_rate
    return {_LEARNING_RATE: Range(rate / _DECADE, rate * _DECADE, log=True)}


def read_space(path: Path) -> Space:
    """Read a TOML file with tables as a recipe's, each value a list or a range.

    A list is one of its values, ``{ low = 1e-4, high = 1e-2, log = true }`` a number between.
    Raises ModelError that names key, table and file.
    """
    space: dict[str, Range | tuple[Any, ...]] = {}
    for table, entries in read_toml(path).items():
        if not isinstance(entries, dict):
            raise ModelError(f"{path}: {table!r} must be a table of the recipe")
        space |= _table_space(table, entries, path)
    if not space:
        raise ModelError(f"{path}: names nothing to choose")
    return space


def _table_space(table: str, entries: Mapping[str, Any], path: Path) -> Space:
    """Read the choices of one table and of those within it."""
    space: dict[str, Range | tuple[Any, ...]] = {}
    for key, values in entries.items():
        name = f"{table}.{key}"
        if isinstance(values, list) and values:
            space[name] = tuple(values)
        elif isinstance(values, dict) and values.keys() & _RANGE_KEYS:
            space[name] = from_table(Range, values, name, path)
        elif isinstance(values, dict):
            space |= _table_space(name, values, path)
        else:
            raise ModelError(
                f"{path}: {name} must be a list of values, or a range such as "
                "{ low = 1e-4, high = 1e-2, log = true }"
            )
    return space


def tune(
    recipe: Recipe, space: Space, n_trials: int, run: Path, run_trial: RunTrial, listener: Listener
) -> Tuned:
    """Search until ``run`` holds ``n_trials`` trials, those of earlier calls among them.

    A trial that breaks down counts as failed, one that is hopeless by its validations so far is
    cut short. Raises UsageError where Optuna is missing, the folder holds another search, another
    process searches in it, or torchrun has started several; ModelError for a space that does not
    fit the recipe; TrainingError when no trial gave a score.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise UsageError("--tune runs in one process: leave out torchrun")
    run.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(run / f".{STUDY_FILE}.lock", timeout=0):
            search = _Search(recipe, space, run)
            return search.go(n_trials, run_trial, listener)
    except Timeout:
        raise UsageError(f"another process searches in {run}: wait for it to end") from None


class _Search:
    """One study and the recipe that it varies."""

    def __init__(self, recipe: Recipe, space: Space, run: Path) -> None:
        self._optuna = _import_optuna()
        self._space, self._run = space, run
        self._metric, self._seed = recipe.validation.metric, recipe.training.seed
        _keep_base(run / BASE_FILE, recipe)
        self._distributions = {
            name: self._distribution(name, values, _setting(recipe, name))
            for name, values in space.items()
        }
        for end in (0, -1):  # refused now, not after hours of trials
            read_recipe(run / BASE_FILE, _overrides(self._corner(end)))
        self._study = self._optuna.create_study(
            storage=f"sqlite:///{(run / STUDY_FILE).resolve()}",
            study_name=recipe.about.name,
            direction="maximize",
            pruner=self._optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
        self._keep_space()

    def go(self, n_trials: int, run_trial: RunTrial, listener: Listener) -> Tuned:
        state = self._optuna.trial.TrialState
        for left in self._study.get_trials(states=(state.RUNNING,)):
            if left.params.keys() != self._space.keys():  # killed while its settings were drawn
                self._study.tell(left.number, state=state.FAIL)
                continue
            self._try(left.number, left.params, None, n_trials, run_trial, listener)
        while (number := len(self._study.trials)) < n_trials:
            # A sampler of its own for each trial: an interrupted search draws the same ones.
            self._study.sampler = self._optuna.samplers.TPESampler(seed=self._seed + number)
            trial = self._study.ask(self._distributions)
            self._try(trial.number, trial.params, trial, n_trials, run_trial, listener)
        if not self._study.get_trials(states=(state.COMPLETE,)):
            raise TrainingError(f"none of the {n_trials} trials in {self._run} gave a score")
        best = self._study.best_trial
        folder = self._run / TRIALS_FOLDER / str(best.number)
        return Tuned(
            best.number, folder, float(self._study.best_value), best.params, len(self._study.trials)
        )

    def _keep_space(self) -> None:
        """Note what is chosen from. Raises UsageError where it was something else before."""
        to_json = self._optuna.distributions.distribution_to_json
        space = {name: to_json(values) for name, values in sorted(self._distributions.items())}
        if self._study.user_attrs.setdefault(_SPACE, space) != space:
            raise UsageError(
                f"{self._run} holds a search in another space: take the same one, or another folder"
            )
        self._study.set_user_attr(_SPACE, space)

    def _try(
        self,
        number: int,
        settings: dict[str, Any],
        trial: optuna.Trial | None,
        n_trials: int,
        run_trial: RunTrial,
        listener: Listener,
    ) -> None:
        """Run one trial; ``trial`` None: it was interrupted, and is not cut short."""
        state = self._optuna.trial.TrialState
        words = f"trial {number} of {n_trials}, {_listed(settings)}"
        recipe = read_recipe(self._run / BASE_FILE, _overrides(settings))
        folder = self._run / TRIALS_FOLDER / str(number)
        try:
            score = run_trial(recipe, folder, _Watcher(listener, self._metric, trial))
        except _HopelessError:
            self._study.tell(number, state=state.PRUNED)
            listener.notice(f"{words}: cut short")
        except AmtError as error:
            self._study.tell(number, state=state.FAIL)
            listener.notice(f"{words}: {error}")
        else:
            self._study.tell(number, score)
            listener.notice(f"{words}: {self._metric} {score:.4f}")

    def _distribution(self, name: str, values: Range | tuple[Any, ...], present: Any) -> Any:
        distributions = self._optuna.distributions
        if not isinstance(values, Range):
            return distributions.CategoricalDistribution(values)
        if isinstance(present, bool) or not isinstance(present, int | float):
            raise ModelError(f"{name} is no number in the recipe: list its values in the space")
        if isinstance(present, float):
            return distributions.FloatDistribution(values.low, values.high, log=values.log)
        if not (float(values.low).is_integer() and float(values.high).is_integer()):
            raise ModelError(f"{name} is a whole number: so must low and high of its range be")
        return distributions.IntDistribution(int(values.low), int(values.high), log=values.log)

    def _corner(self, end: int) -> dict[str, Any]:
        """Return the first (0) or last (-1) of what each setting may be."""
        choices = {
            name: values if isinstance(values, tuple) else self._distributions[name]
            for name, values in self._space.items()
        }
        return {
            name: each[end] if isinstance(each, tuple) else (each.low, each.high)[end]
            for name, each in choices.items()
        }


class _HopelessError(Exception):
    """A trial is worse than half of those before it were at the same step."""


class _Watcher(Listener):
    """Passes on what happens in a trial, and ends it where it is hopeless."""

    def __init__(self, listener: Listener, metric: str, trial: optuna.Trial | None) -> None:
        self._listener, self._metric, self._trial = listener, metric, trial

    def started(self, step: int, n_steps: int, description: str) -> None:
        """Pass on."""
        self._listener.started(step, n_steps, description)

    def stepped(self, step: int, report: StepReport) -> None:
        """Pass on."""
        self._listener.stepped(step, report)

    def validated(self, step: int, validation: Validation, *, best: bool) -> None:
        """Report the score to the study."""
        self._listener.validated(step, validation, best=best)
        if self._trial is not None:
            self._trial.report(validation.scores[self._metric], step)
            if self._trial.should_prune():
                raise _HopelessError

    def notice(self, text: str) -> None:
        """Pass on."""
        self._listener.notice(text)


def _listed(settings: Mapping[str, Any]) -> str:
    shown = {k: f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in settings.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())


def _keep_base(path: Path, recipe: Recipe) -> None:
    """Write the recipe that is varied. Raises UsageError where another one was before."""
    text = recipe_toml(recipe)
    if path.exists() and path.read_bytes() != text:
        raise UsageError(f"{path} is another recipe: take the same one, or another folder")
    write_atomically(path, text)


def _setting(recipe: Recipe, name: str) -> Any:
    """Return a recipe's own value of a setting."""
    value: Any = dataclasses.asdict(recipe)
    try:
        for key in name.split("."):
            value = value[key]
        return value
    except (KeyError, TypeError):
        raise ModelError(f"the recipe has no {name}, which the space lists") from None


def _overrides(settings: Mapping[str, Any]) -> list[str]:
    """Write settings as `read_recipe` takes them, "key=value" with the value in TOML."""
    import tomli_w

    return [
        f"{name}={tomli_w.dumps({'v': value}).partition('=')[2].strip()}"
        for name, value in settings.items()
    ]


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("--tune needs Optuna: pip install 'amtcli[train]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
