"""Recipes: one TOML file that says everything about how a model is made.

The tables ``[network]``, ``[front_end]``, ``[window]``, ``[decoder]`` and ``[precision]`` are
those of ``model.toml``; the others are the dataclasses below, and ``[objective]`` and
``[augmentation]`` those of their own modules. Every key is required, an unknown key is an error.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from amtcli.errors import ModelError, UsageError
from amtcli.model_config import Precision
from amtcli.tables import check_keys, from_table, read_toml
from amtcli.windows import WindowConfig

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_MOST = 1e30  # of what is multiplied in float32, which ends at 3.4e38

RECIPES_FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class AboutConfig:
    """What the recipe is; the model that comes of it takes name and licence over."""

    name: str
    description: str
    licence: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(f"name may hold letters, digits, '.', '_' and '-', not {self.name!r}")


@dataclass(frozen=True)
class SamplingConfig:
    """Which stretches of the recordings are windows of training.

    A window has ``length_samples`` and begins at a multiple of ``grid_samples``, counted from
    the earliest start. It may hang over either end of its recording by ``overhang_samples``,
    where there are zeros; the last one by up to a step of the grid more. Every possible start of
    every recording is equally likely, so that a recording comes as often as it is long.
    """

    length_samples: int
    grid_samples: int
    overhang_samples: int

    def __post_init__(self) -> None:
        _at_least(self, 1, "length_samples", "grid_samples")
        if not 0 <= self.overhang_samples < self.length_samples:
            raise ValueError("overhang_samples must lie between 0 and length_samples - 1")


@dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser; ``learning_rate`` is the peak that the schedule scales.

    ``betas``, ``epsilon`` and ``amsgrad`` are Adam's, and with muon those of what is no matrix.
    ``clip_norm`` bounds the norm of the gradient before each step; 0 leaves it alone.
    """

    kind: Literal["adam", "adamw", "muon"]
    learning_rate: float
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    amsgrad: bool
    clip_norm: float

    def __post_init__(self) -> None:
        if self.learning_rate <= 0 or self.epsilon <= 0:
            raise ValueError("learning_rate and epsilon must be above 0")
        _at_most(self, _MOST, "learning_rate", "epsilon", "weight_decay", "clip_norm")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError("betas must lie in [0, 1)")
        _at_least(self, 0, "weight_decay", "clip_norm")


@dataclass(frozen=True)
class ConstantSchedule:
    """The peak learning rate throughout."""

    kind: Literal["constant"]


@dataclass(frozen=True)
class StepDecaySchedule:
    """The learning rate times ``factor`` after every ``every_steps``."""

    kind: Literal["step_decay"]
    every_steps: int
    factor: float

    def __post_init__(self) -> None:
        _at_least(self, 1, "every_steps")
        if not 0 < self.factor <= 1:
            raise ValueError("factor must lie in (0, 1]")


@dataclass(frozen=True)
class CosineQuartersSchedule:
    """A linear rise over ``warmup_steps``, then quarter waves of a cosine, peak to zero.

    Each takes ``cycle_steps``; each peak is ``cycle_factor`` times the one before.
    """

    kind: Literal["cosine_quarters"]
    warmup_steps: int
    cycle_steps: int
    cycle_factor: float

    def __post_init__(self) -> None:
        _at_least(self, 0, "warmup_steps")
        _at_least(self, 2, "cycle_steps")
        if not 0 < self.cycle_factor <= 1:
            raise ValueError("cycle_factor must lie in (0, 1]")


@dataclass(frozen=True)
class OneCycleSchedule:
    """Half a cosine up to the peak, half a cosine down, over all steps of the training.

    It begins at ``start_factor`` times the peak, reaches it after ``rise_share`` of the steps
    and ends at ``end_factor`` times the peak.
    """

    kind: Literal["one_cycle"]
    rise_share: float
    start_factor: float
    end_factor: float

    def __post_init__(self) -> None:
        if not 0 < self.rise_share < 1:
            raise ValueError("rise_share must lie between 0 and 1")
        if not (0 <= self.start_factor <= 1 and 0 <= self.end_factor <= 1):
            raise ValueError("start_factor and end_factor must lie in [0, 1]")


ScheduleConfig = ConstantSchedule | StepDecaySchedule | CosineQuartersSchedule | OneCycleSchedule

_FREE_TABLES = ("about", "window", "decoder", "precision", "validation")
_FREE_KEYS = ("training.log_every_steps", "training.save_every_steps")

SCHEDULES: dict[str, type[Any]] = {
    "constant": ConstantSchedule,
    "step_decay": StepDecaySchedule,
    "cosine_quarters": CosineQuartersSchedule,
    "one_cycle": OneCycleSchedule,
}


@dataclass(frozen=True)
class TrainingConfig:
    """How long and in what portions.

    One step takes ``batch_size`` windows, in ``accumulation`` equal parts where memory is short;
    both are totals, however many processes share them. ``ema_decay`` averages the weights
    exponentially over the steps for validation and for the model; 0 takes them as they are.
    ``batch_statistics`` are what batch normalisation goes by in use: "running" averages of
    training's batches, "measured" anew for the weights of every validation, or "fixed" as training
    begins, which then normalises by them, too.
    ``precision`` "auto" is bf16 where the device is fast at it.
    """

    seed: int
    steps: int
    batch_size: int
    accumulation: int
    ema_decay: float
    batch_statistics: Literal["running", "measured", "fixed"]
    precision: Literal["auto", "float32", "bf16"]
    log_every_steps: int
    save_every_steps: int

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError("seed must lie between 0 and 2**32 - 1")
        _at_least(
            self, 1, "steps", "batch_size", "accumulation", "log_every_steps", "save_every_steps"
        )
        if self.batch_size % self.accumulation:
            raise ValueError("accumulation must divide batch_size")
        if not 0 <= self.ema_decay < 1:
            raise ValueError("ema_decay must lie in [0, 1)")


@dataclass(frozen=True)
class ValidationConfig:
    """When and how the model is measured while it learns.

    ``metric`` is a score of ``amt evaluate`` and names the best model, the greater the better.
    ``n_recordings`` of the validation split are taken, evenly spread (0: all), and of each the
    first ``excerpt_s`` seconds (0: all). Training ends after ``patience`` validations that did
    not improve (0: never). ``thresholds`` lists, for each key of ``[decoder]`` that may be
    chosen, the values to choose from.
    """

    every_steps: int
    metric: str
    n_recordings: int
    excerpt_s: float
    patience: int
    thresholds: dict[str, tuple[float, ...]]

    def __post_init__(self) -> None:
        _at_least(self, 1, "every_steps")
        _at_least(self, 0, "n_recordings", "excerpt_s", "patience")
        if math.isinf(self.excerpt_s):
            raise ValueError("excerpt_s must be finite; 0 takes the whole of each recording")


@dataclass(frozen=True)
class Recipe:
    """The whole of a recipe.

    Tables whose dataclasses live beside code that imports torch stay tables here; what is built
    from them checks their keys. An ``[augmentation]`` without any key takes windows as recorded.
    ``path`` is the file that it was read from, for messages.
    """

    path: Path
    about: AboutConfig
    network: dict[str, Any]
    front_end: dict[str, Any]
    window: WindowConfig
    decoder: dict[str, Any]
    precision: Precision
    objective: dict[str, Any]
    sampling: SamplingConfig
    augmentation: dict[str, Any]
    optimiser: OptimiserConfig
    schedule: ScheduleConfig
    training: TrainingConfig
    validation: ValidationConfig


def recipe_names() -> list[str]:
    """Return the names of the recipes that ship with amt, sorted."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml"))


def find_recipe(name: str) -> Path:
    """Turn a shipped recipe's name or a path into a path. Raises UsageError for neither."""
    shipped = RECIPES_FOLDER / f"{name}.toml"
    if name in recipe_names():
        return shipped
    if Path(name).is_file():
        return Path(name)
    names = ", ".join(recipe_names())
    raise UsageError(f"no recipe {name!r}: name a file, or one of those that ship: {names}")


def read_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """Read and check a recipe, with ``overrides`` such as "training.steps=100" put in.

    Raises ModelError naming key, table and file; UsageError for an override that is none.
    """
    tables = apply_overrides(read_toml(path), overrides)
    names = [field.name for field in dataclasses.fields(Recipe) if field.name != "path"]
    check_keys(tables, names, "", path)
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise ModelError(f"{path}: {name!r} must be a table")
    return Recipe(
        path=path,
        about=from_table(AboutConfig, tables["about"], "about", path),
        network=tables["network"],
        front_end=tables["front_end"],
        window=from_table(WindowConfig, tables["window"], "window", path),
        decoder=tables["decoder"],
        precision=from_table(Precision, tables["precision"], "precision", path),
        objective=tables["objective"],
        sampling=from_table(SamplingConfig, tables["sampling"], "sampling", path),
        augmentation=tables["augmentation"],
        optimiser=from_table(OptimiserConfig, tables["optimiser"], "optimiser", path),
        schedule=_read_schedule(tables["schedule"], path),
        training=from_table(TrainingConfig, tables["training"], "training", path),
        validation=from_table(ValidationConfig, tables["validation"], "validation", path),
    )


def apply_overrides(tables: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of ``tables`` with each "table.key=value" put in; values are TOML.

    A value that is no TOML is taken as a string. Raises UsageError.
    """
    changed = copy.deepcopy(tables)
    for override in overrides:
        name, equals, text = override.partition("=")
        *path, key = (part.strip() for part in name.split("."))
        if not equals or not path or not all((*path, key)):
            raise UsageError(f"-s {override}: write table.key=value, as in training.steps=100")
        table = changed
        for part in path:
            table = table.get(part)  # type: ignore[assignment]
            if not isinstance(table, dict):
                raise UsageError(f"-s {override}: the recipe has no table [{'.'.join(path)}]")
        table[key] = _parse_value(text.strip())
    return changed


def recipe_toml(recipe: Recipe) -> bytes:
    """Return a recipe as TOML that `read_recipe` reads back, overrides and all."""
    import tomli_w

    tables = {name: table for name, table in dataclasses.asdict(recipe).items() if name != "path"}
    return tomli_w.dumps(tables).encode()


def differences(first: str, second: str) -> list[str]:
    """Name the keys by which two resolved recipes would train differently, as "table.key".

    How often to log, save and measure makes no difference, nor does what becomes of the
    network's answers; nor how many steps there are, unless the schedule spans them.
    """
    ones, others = (_flatten(tomllib.loads(text)) for text in (first, second))
    names = [name for name in ones | others if ones.get(name) != others.get(name)]
    free = set(_FREE_KEYS)
    if "one_cycle" not in (ones.get("schedule.kind"), others.get("schedule.kind")):
        free.add("training.steps")
    return sorted(
        name for name in names if name not in free and name.split(".")[0] not in _FREE_TABLES
    )


def _flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_schedule(table: dict[str, Any], path: Path) -> ScheduleConfig:
    kind = table.get("kind")
    if kind not in SCHEDULES:
        known = ", ".join(SCHEDULES)
        raise ModelError(f"{path}: 'kind' in [schedule] must be one of {known}, not {kind!r}")
    schedule: ScheduleConfig = from_table(SCHEDULES[kind], table, "schedule", path)
    return schedule


def _parse_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _at_least(config: object, least: int, *names: str) -> None:
    for name in names:
        if getattr(config, name) < least:
            raise ValueError(f"{name} must be at least {least}")


def _at_most(config: object, most: float, *names: str) -> None:
    for name in names:
        if getattr(config, name) > most:
            raise ValueError(f"{name} must be at most {most:g}")
