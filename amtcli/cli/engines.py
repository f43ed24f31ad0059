"""From what the options say to an engine that is ready; the slow imports happen here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from amtcli.cli.progress import Screen
from amtcli.cli.streams import is_terminal

if TYPE_CHECKING:
    from amtcli.engine import Engine, EngineOptions
    from amtcli.model_config import ModelConfig
    from amtcli.model_folder import Model
    from amtcli.refinement.beats_engine import BeatsOfNotesEngine
    from amtcli.refinement.engine import VelocityEngine
    from amtcli.refinement.refining_engine import Refinement, RefiningEngine


class Precision(str, Enum):
    """Arithmetic of the network's large matrix products."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which model, "" for the default one, computed how.

    ``beats`` is the model that adds beats, "" for none.
    """

    model: str
    device: str
    batch_size: int | None
    precision: str
    fast: bool
    offline: bool
    refines_velocity: bool = False
    beats: str = ""


@dataclass(frozen=True)
class Producer:
    """The model, or the models one after the other, as results name them."""

    name: str
    version: str


def open_engine(choice: EngineChoice, screen: Screen) -> tuple[Engine | RefiningEngine, Producer]:
    """Find and load the model, and those that add to what it finds; what is missing is pulled.

    The slow imports happen here.
    """
    screen.status("loading model")
    from amtcli.engine import Engine
    from amtcli.refinement.reading import check_transcriber

    name = choice.model or _default_model(screen)
    model, options = _load(replace(choice, model=name), check_transcriber, screen)
    engine, producer = Engine(model, options, _notifier(screen)), _producer(model)
    added = list(_refinements(choice, screen))
    if not added:
        return engine, producer
    from amtcli.refinement.refining_engine import RefiningEngine

    producers = [producer, *(adder for _, adder in added)]
    *earlier, last = producers
    names = [f"{each.name} {each.version}" for each in earlier]
    together = replace(last, name=" + ".join([*names, last.name]))
    return RefiningEngine(engine, *(refinement for refinement, _ in added)), together


def _refinements(choice: EngineChoice, screen: Screen) -> Iterator[tuple[Refinement, Producer]]:
    """Open what adds to a transcription, with the model's name."""
    from amtcli.catalog import VELOCITY_MODEL
    from amtcli.engine import Engine
    from amtcli.refinement.beats_engine import BeatsOfNotesEngine
    from amtcli.refinement.reading import check_beat_model, hears_notes
    from amtcli.refinement.refining_engine import add_beats, read_velocities

    # No such network is computed in int8: who asks for it means the transcriber.
    precision = "auto" if choice.precision == Precision.INT8 else choice.precision
    second = replace(choice, precision=precision)
    if choice.refines_velocity:
        reader, producer = open_reader(replace(second, model=VELOCITY_MODEL), screen)
        yield read_velocities(reader), producer
    if choice.beats:
        beats = replace(second, model=choice.beats)
        model, options = _load(beats, check_beat_model, screen)
        engine = BeatsOfNotesEngine if hears_notes(model.config) else Engine
        yield add_beats(engine(model, options, _notifier(screen))), _producer(model)


def open_reader(choice: EngineChoice, screen: Screen) -> tuple[VelocityEngine, Producer]:
    """Find and load a velocity model; the slow imports happen here.

    Raises ModelError where there is no such model, or where it is a model of another kind.
    """
    from amtcli.refinement.engine import VelocityEngine
    from amtcli.refinement.reading import check_velocity_model

    model, options = _load(choice, check_velocity_model, screen)
    return VelocityEngine(model, options, _notifier(screen)), _producer(model)


def open_note_beats(choice: EngineChoice, screen: Screen) -> tuple[BeatsOfNotesEngine, Producer]:
    """Find and load the model of beats, which must find them in notes.

    Raises ModelError where there is no such model, or where it is a model of another kind.
    """
    from amtcli.refinement.beats_engine import BeatsOfNotesEngine
    from amtcli.refinement.reading import check_note_beats_model

    named = replace(choice, model=choice.beats)
    model, options = _load(named, check_note_beats_model, screen)
    return BeatsOfNotesEngine(model, options, _notifier(screen)), _producer(model)


def _load(
    choice: EngineChoice, check: Callable[[ModelConfig], None], screen: Screen
) -> tuple[Model, EngineOptions]:
    from amtcli.catalog import locate, resolve
    from amtcli.engine import EngineOptions
    from amtcli.model_config import read_config
    from amtcli.model_folder import load_model

    # Before a pull: the wrong kind of model is known without its weights.
    check(read_config(locate(choice.model)))
    folder = resolve(choice.model, offline=choice.offline, on_progress=screen.download)
    screen.status("loading model")
    options = EngineOptions(choice.device, choice.precision, choice.batch_size, choice.fast)
    return load_model(folder), options


def _notifier(screen: Screen) -> Callable[[str], None]:
    return lambda text: screen.say(f"amt: {text}")


def _default_model(screen: Screen) -> str:
    """Choose the model where none was named; a person is told once what else there is."""
    from amtcli.catalog import ACCURATE_MODEL, default_model

    name = default_model()
    if name != ACCURATE_MODEL and is_terminal(sys.stderr):
        screen.say(
            f"amt: transcribing with {name}; {ACCURATE_MODEL} (amt models pull {ACCURATE_MODEL}) "
            "is slower and more accurate"
        )
    return name


def _producer(model: Model) -> Producer:
    provenance = model.config.provenance
    return Producer(provenance.name, provenance.version)
