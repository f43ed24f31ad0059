"""From what the options say to an engine that is ready; the slow imports happen here."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from amtcli.cli.progress import Screen
from amtcli.cli.streams import is_terminal

if TYPE_CHECKING:
    from amtcli.engine import Engine
    from amtcli.model_folder import Model
    from amtcli.refinement.engine import VelocityEngine
    from amtcli.refinement.refining_engine import RefiningEngine


class Precision(str, Enum):
    """Arithmetic of the network's large matrix products."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which model, "" for the default one, computed how."""

    model: str
    device: str
    batch_size: int | None
    precision: str
    fast: bool
    offline: bool
    refines_velocity: bool = False


@dataclass(frozen=True)
class Producer:
    """The model, or the models one after the other, as results name them."""

    name: str
    version: str


def open_engine(choice: EngineChoice, screen: Screen) -> tuple[Engine | RefiningEngine, Producer]:
    """Find and load the model; one that is named is pulled first where needed.

    The slow imports happen here.
    """
    screen.status("loading model")
    from amtcli.catalog import locate, resolve
    from amtcli.engine import Engine, EngineOptions
    from amtcli.model_config import read_config
    from amtcli.model_folder import load_model
    from amtcli.refinement.reading import check_transcriber

    name = choice.model or _default_model(screen)
    check_transcriber(read_config(locate(name)))
    folder = resolve(name, offline=choice.offline, on_progress=screen.download)
    screen.status("loading model")
    model = load_model(folder)
    options = EngineOptions(choice.device, choice.precision, choice.batch_size, choice.fast)
    engine = Engine(model, options, on_notice=lambda text: screen.say(f"amt: {text}"))
    if not choice.refines_velocity:
        return engine, _producer(model)
    return _refined(engine, _producer(model), choice, screen)


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


def _refined(
    engine: Engine, producer: Producer, choice: EngineChoice, screen: Screen
) -> tuple[RefiningEngine, Producer]:
    """Let a velocity model follow an engine; both are named in what is written."""
    from amtcli.catalog import VELOCITY_MODEL
    from amtcli.refinement.refining_engine import RefiningEngine

    # No velocity network is computed in int8: who asks for it means the transcriber.
    precision = "auto" if choice.precision == Precision.INT8 else choice.precision
    second = replace(choice, model=VELOCITY_MODEL, precision=precision)
    reader, reads = open_reader(second, screen)
    both = replace(reads, name=f"{producer.name} {producer.version} + {reads.name}")
    return RefiningEngine(engine, reader), both


def open_reader(choice: EngineChoice, screen: Screen) -> tuple[VelocityEngine, Producer]:
    """Find and load a velocity model; the slow imports happen here.

    Raises ModelError where there is no such model, or where it is a model of another kind.
    """
    from amtcli.catalog import locate, resolve
    from amtcli.model_config import read_config
    from amtcli.refinement.reading import check_velocity_model

    # Before a pull: the wrong kind of model is known without its weights.
    check_velocity_model(read_config(locate(choice.model)))
    folder = resolve(choice.model, offline=choice.offline, on_progress=screen.download)
    screen.status("loading model")
    from amtcli.engine import EngineOptions
    from amtcli.model_folder import load_model
    from amtcli.refinement.engine import VelocityEngine

    options = EngineOptions(choice.device, choice.precision, choice.batch_size, choice.fast)
    model = load_model(folder)
    reader = VelocityEngine(model, options, lambda text: screen.say(f"amt: {text}"))
    return reader, _producer(model)


def _producer(model: Model) -> Producer:
    provenance = model.config.provenance
    return Producer(provenance.name, provenance.version)
