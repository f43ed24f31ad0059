"""What the loop asks of those who measure a model, who write it down and who are told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from amtcli.front_ends.front_end import FrontEnd
from amtcli.networks.network import Network
from amtcli.training.stepping import StepReport


@dataclass(frozen=True)
class Validation:
    """Scores by name, as ``amt evaluate`` names them, and the ``[decoder]`` that reached them."""

    scores: dict[str, float]
    decoder: dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """How far training had come when a model was taken from it."""

    step: int
    elapsed_s: float
    validation: Validation | None


class Validator(Protocol):
    """Measures a model on the validation recordings."""

    def __call__(self, network: Network, front_end: FrontEnd) -> Validation:
        """Measure; both modules are copies on the device, in evaluation mode, to be used up."""


class Exporter(Protocol):
    """Writes the model folder of a run, in place of the one before."""

    def __call__(self, tensors: Mapping[str, Tensor], moment: Moment) -> None:
        """Write; ``tensors`` are on the CPU, named ``front_end.…`` and ``network.…``."""


class Listener:
    """Told what goes on, in the first process; does nothing by itself."""

    def started(self, step: int, n_steps: int, description: str) -> None:
        """Training begins or goes on after ``step`` steps; ``description`` says on what."""

    def stepped(self, step: int, report: StepReport) -> None:
        """``step`` steps are done."""

    def validated(self, step: int, validation: Validation, *, best: bool) -> None:
        """Take in a validation."""

    def notice(self, text: str) -> None:
        """One line that the user may want to know."""


@dataclass(frozen=True)
class Companions:
    """Who measures the model (None: nobody, the last is the best), writes it, and is told.

    Scores are comparable where ``measure`` is the same.
    """

    validator: Validator | None
    exporter: Exporter
    listener: Listener
    measure: str = ""
