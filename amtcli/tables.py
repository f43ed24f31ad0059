"""TOML tables to frozen dataclasses: every key required, none unknown, each of its type."""

from __future__ import annotations

import dataclasses
import difflib
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from amtcli.errors import ModelError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Config = TypeVar("Config")
Built = TypeVar("Built")

_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
_PLURALS = {str: "strings", int: "whole numbers", float: "numbers"}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file. Raises ModelError that names it when it cannot be read."""
    try:
        with path.open("rb") as file:
            tables: dict[str, Any] = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    return tables


def from_table(config_class: type[Config], table: dict[str, Any], name: str, path: Path) -> Config:
    """Build a dataclass from the table ``name`` of the TOML file ``path``.

    A field whose type is a dataclass takes a sub-table; where there are several to choose from,
    the sub-table's ``kind`` says which. Raises ModelError naming key, table and
    file for a key that is missing, unknown or of the wrong type, and for whatever the
    dataclass itself refuses with ValueError or ModelError.
    """
    hints = typing.get_type_hints(config_class)
    fields = [field.name for field in dataclasses.fields(config_class)]  # type: ignore[arg-type]
    check_keys(table, fields, name, path)
    values = {key: _value(hints[key], table[key], _Place(path, name, key)) for key in fields}
    try:
        return config_class(**values)
    except (ValueError, LookupError, ArithmeticError, ModelError) as error:
        raise ModelError(f"{path}: [{name}]: {error}") from error


def built(make: Callable[[Any], Built], config: Any, name: str, path: Path) -> Built:
    """Build what a configuration describes. Raises ModelError where it is none that can be."""
    try:
        return make(config)
    except (ValueError, LookupError, ArithmeticError, RuntimeError) as error:
        raise ModelError(f"{path}: [{name}] describes nothing that works: {error}") from error


def check_clocks(tables: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Raise ModelError where tables, by name, disagree about the sample rate or the hop."""
    for key in ("sample_rate_hz", "hop_samples"):
        told = {name: table[key] for name, table in tables.items() if key in table}
        if len(set(told.values())) > 1:
            words = " and ".join(f"{value} in [{name}]" for name, value in told.items())
            raise ModelError(f"{path}: {key} is {words}: let them agree")


def registered(
    registry: Mapping[str, tuple[type[Any], Any]], table: dict[str, Any], name: str, path: Path
) -> tuple[Any, Any]:
    """Look up what the table ``name`` names by its ``kind``, of a network its ``architecture``.

    Returns the configuration that the rest of the table describes, and what it configures.
    """
    key = "architecture" if name == "network" else "kind"
    if key not in table:
        raise ModelError(f"{path}: key {key!r} is missing in [{name}]")
    if not isinstance(table[key], str) or table[key] not in registry:
        known = ", ".join(sorted(registry))
        raise ModelError(f"{path}: unknown {key} {table[key]!r} in [{name}] (known: {known})")
    config_class, configured = registry[table[key]]
    rest = {k: v for k, v in table.items() if k != key}
    return from_table(config_class, rest, name, path), configured


def check_keys(table: dict[str, Any], wanted: list[str], name: str, path: Path) -> None:
    """Raise ModelError unless the keys of a table are exactly those ``wanted``."""
    for key in table:
        if key not in wanted:
            near = difflib.get_close_matches(key, wanted, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise ModelError(f"{path}: unknown key {key!r} in {_title(name)}{hint}")
    for key in wanted:
        if key not in table:
            raise ModelError(f"{path}: key {key!r} is missing in {_title(name)}")


def _title(table: str) -> str:
    return f"[{table}]" if table else "its top level"


@dataclass(frozen=True)
class _Place:
    """Where a value stands, for messages."""

    path: Path
    table: str
    key: str

    def error(self, problem: str) -> ModelError:
        return ModelError(f"{self.path}: {self.key!r} in [{self.table}] must {problem}")


def _value(hint: Any, value: Any, place: _Place) -> Any:
    """Check one value against a field's type; arrays become tuples, ints floats where wanted."""
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return from_table(
            typing.cast("type[Any]", hint), value, f"{place.table}.{place.key}", place.path
        )
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and isinstance(value, list):
        return _tuple(arguments, value, place)
    if origin is dict and isinstance(value, dict):
        table = f"{place.table}.{place.key}"
        places = {key: _Place(place.path, table, key) for key in value}
        return {key: _value(arguments[1], item, places[key]) for key, item in value.items()}
    if origin is typing.Literal and value in arguments:
        return value
    choices = arguments if origin in (types.UnionType, typing.Union) else (hint,)
    if isinstance(value, dict) and all(dataclasses.is_dataclass(choice) for choice in choices):
        return _of_kind(choices, value, place)
    if isinstance(value, float) and math.isnan(value):
        raise place.error("be a number, not nan")
    if type(value) in choices:
        return value
    if float in choices and type(value) is int:
        return float(value)
    wanted = " or ".join(dict.fromkeys(map(_words, choices)))
    raise place.error(f"be {wanted}, not {value!r}")


def _words(hint: Any) -> str:
    """Say what a field of this type takes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if origin is tuple:
        count = "" if arguments[-1] is Ellipsis else f"{len(arguments)} "
        return f"a list of {count}{_PLURALS.get(arguments[0], 'values')}"
    return _TYPE_NAMES.get(hint, "a table")


def _of_kind(classes: tuple[Any, ...], table: dict[str, Any], place: _Place) -> Any:
    """Choose among dataclasses by the key ``kind``, which each of them has as a class variable."""
    by_kind = {config_class.kind: config_class for config_class in classes}
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in by_kind:
        raise place.error(f"have a kind out of {', '.join(by_kind)}, not {kind!r}")
    rest = {key: value for key, value in table.items() if key != "kind"}
    return from_table(by_kind[kind], rest, f"{place.table}.{place.key} {kind}", place.path)


def _tuple(hints: tuple[Any, ...], values: list[Any], place: _Place) -> tuple[Any, ...]:
    if hints[-1] is Ellipsis:
        hints = hints[:1] * len(values)
    if len(hints) != len(values):
        raise place.error(f"hold {len(hints)} values, not {len(values)}")
    return tuple(_value(hint, value, place) for hint, value in zip(hints, values, strict=True))
