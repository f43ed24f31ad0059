"""What is known of each origin of checkpoints: how to tell its files, and how to read them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.errors import ModelError
from amtcli.windows import WindowConfig

_N_NAMED = 4


@dataclass(frozen=True)
class Expected:
    """Names that the tensors of a checkpoint must have, and those that they may have."""

    needed: frozenset[str]
    unused: frozenset[str] = frozenset()

    def missing(self, found: Collection[str]) -> list[str]:
        """Return what is needed and not found, in order."""
        return sorted(self.needed - set(found))

    def unexpected(self, found: Collection[str]) -> list[str]:
        """Return what is found and neither needed nor expected, in order."""
        return sorted(set(found) - self.needed - self.unused)

    def likeness(self, found: Collection[str]) -> float:
        """Return 1 for all that is needed and nothing else, 0 for nothing in common."""
        common = self.needed & set(found)
        return len(common) / max(len(self.needed | (set(found) - self.unused)), 1)


@dataclass(frozen=True)
class Settings:
    """What ``model.toml`` says of a network beside its weights.

    Network, front-end and decoder are given by their names in the registries and their
    configurations, frozen dataclasses.
    """

    network: tuple[str, Any]
    front_end: tuple[str, Any]
    window: WindowConfig
    decoder: tuple[str, Any]

    def tables(self) -> dict[str, dict[str, Any]]:
        """Return the tables of network, front-end and decoder, as TOML has them."""
        return {
            "network": _table("architecture", *self.network),
            "front_end": _table("kind", *self.front_end),
            "decoder": _table("kind", *self.decoder),
        }


def _table(key: str, name: str, config: Any) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    lists = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    return {key: name, **lists}


@dataclass(frozen=True)
class Origin:
    """One origin of checkpoints.

    title, home: what it is called, and where its authors publish it.
    trained: what the published weights were trained on, as far as is known.
    hears: how far an answer depends on what else is in its window, for the model's card.
    find: gives the tensors in what was unpickled, by their own names; none where there are none.
    expected: gives the names that it should have, which may depend on those that were found.
    convert: turns found tensors, all of them there, into tensors with our names. Raises
        ModelError for shapes and constants that cannot be.
    describe: tells the settings from converted tensors, found ones, and ``options``.
    options: what a checkpoint does not state, with the authors' values.
    departure: where the settings are not those of the authors' programs, for the model's card.
    """

    title: str
    home: str
    trained: str
    hears: str
    find: Callable[[Any], Mapping[str, Tensor]]
    expected: Callable[[Collection[str]], Expected]
    convert: Callable[[Mapping[str, Tensor], Path], dict[str, Tensor]]
    describe: Callable[[Mapping[str, Tensor], Mapping[str, Tensor], Mapping[str, int]], Settings]
    options: Mapping[str, int] = field(default_factory=dict)
    departure: str = ""

    def read(self, path: Path) -> dict[str, Tensor]:
        """Read a checkpoint into tensors with our names.

        Nothing in the file is executed. Raises ModelError when it is none of this origin.
        """
        found = self.find(load_inert(path))
        expected = self.expected(found)
        wrong = [f"{name} is missing" for name in expected.missing(found)]
        wrong += [f"{name} is unexpected" for name in expected.unexpected(found)]
        if wrong:
            more = f" and {len(wrong) - _N_NAMED} more" if len(wrong) > _N_NAMED else ""
            named = ", ".join(wrong[:_N_NAMED])
            raise ModelError(f"{path} is not {self.title}: {named}{more}")
        return self.convert(found, path)


def tensors_under(saved: Any, *keys: str) -> dict[str, Tensor]:
    """Return the tensors of the first of ``keys`` that a checkpoint has, or of its top level."""
    if isinstance(saved, dict):
        for key in keys:
            if tensors := module_tensors(saved.get(key)):
                return tensors
    return module_tensors(saved)
