"""Choosing a decoder's settings, on activations that were computed once.

Coordinate descent: one setting after the other takes the value of its list that scores best
while the others stay, until a whole round changes nothing. It finds the best of all combinations
where settings do not depend on each other, and a good one elsewhere, after a few passes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amtcli.decoders import DECODERS, Decoder
from amtcli.engine import performance_of
from amtcli.errors import ModelError
from amtcli.notes import Note, PedalSpan, Performance
from amtcli.tables import registered
from amtcli.windows import WindowSpec

Grid = Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Choice:
    """The ``[decoder]`` table with the settings that scored best, and what it scored.

    ``tried`` holds every combination that was scored, in order.
    """

    decoder: dict[str, Any]
    score: float
    tried: tuple[tuple[dict[str, Any], float], ...]


def choose_settings(
    decoder: Mapping[str, Any], grid: Grid, score: Callable[[Mapping[str, Any]], float]
) -> Choice:
    """Choose, for each key of ``grid``, among its values and the present one.

    ``score`` is asked once for each combination; the greater the better. Of equal ones the
    present value stays, else the first of the list is taken.
    """
    tried: dict[tuple[Any, ...], tuple[dict[str, Any], float]] = {}

    def scored(candidate: dict[str, Any]) -> float:
        key = tuple(candidate[name] for name in grid)
        if key not in tried:
            tried[key] = (candidate, score(candidate))
        return tried[key][1]

    best = dict(decoder)
    best_score = scored(best)
    improves = True
    while improves:
        improves = False
        for name, values in grid.items():
            for value in values:
                candidate = {**best, name: _of_the_kind_of(decoder[name], value)}
                if scored(candidate) > best_score:
                    best, best_score, improves = candidate, scored(candidate), True
    return Choice(best, best_score, tuple(tried.values()))


def check_grid(decoder: Mapping[str, Any], grid: Grid, path: Path) -> None:
    """Refuse values that the decoder cannot have, before anything is computed.

    Raises ModelError that names the key and ``path``, the recipe's file.
    """
    for name, values in grid.items():
        if name not in decoder or not _is_number(decoder[name]):
            known = ", ".join(key for key, value in decoder.items() if _is_number(value))
            raise ModelError(
                f"{path}: {name!r} in [validation.thresholds] is no number of [decoder] ({known})"
            )
        for value in values:
            _built({**decoder, name: _of_the_kind_of(decoder[name], value)}, path)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of_the_kind_of(present: float, value: float) -> float:
    """Let whole numbers stay whole numbers: a count of frames is listed as a number, too."""
    return int(value) if isinstance(present, int) and float(value).is_integer() else value


def _built(decoder: Mapping[str, Any], path: Path) -> tuple[Any, Any]:
    """Return the configuration that a ``[decoder]`` table describes and its class."""
    return registered(DECODERS, dict(decoder), "decoder", path)


@dataclass(frozen=True)
class DecoderCache:
    """Stands in for the decoder of a recording and keeps what it is fed, to decode it later.

    As in the engine, what begins after ``duration_s`` is no part of the recording.
    """

    window: WindowSpec
    duration_s: float
    fed: list[Any] = field(default_factory=list)

    def feed(self, activations: Any, /) -> Sequence[Note | PedalSpan]:
        """Keep the next window's activations."""
        self.fed.append(activations)
        return ()

    def close(self) -> Sequence[Note | PedalSpan]:
        """Do nothing: nothing was decoded."""
        return ()

    def decode(self, decoder: Mapping[str, Any]) -> Performance:
        """Decode what was kept, as a ``[decoder]`` table says."""
        config, decoder_class = _built(decoder, Path("[decoder]"))
        own: Decoder = decoder_class(config, self.window)
        found = [event for activations in self.fed for event in own.feed(activations)]
        found += own.close()
        return performance_of(event for event in found if event.onset_s < self.duration_s)
