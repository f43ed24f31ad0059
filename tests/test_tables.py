import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from amtcli.errors import ModelError
from amtcli.tables import built, check_clocks, from_table, read_toml, registered

PATH = Path("here/model.toml")


@dataclass(frozen=True)
class Inner:
    depth: int


@dataclass(frozen=True)
class Cat:
    kind: ClassVar[str] = "cat"
    lives: int


@dataclass(frozen=True)
class Dog:
    kind: ClassVar[str] = "dog"
    breed: str


@dataclass(frozen=True)
class Outer:
    rate_hz: float
    n_mels: int
    shape: tuple[int, int]
    widths: tuple[float, ...]
    mode: Literal["same", "valid"]
    seed: int | str
    scores: dict[str, float]
    log: bool
    inner: Inner
    pets: tuple[Cat | Dog, ...]


TABLE: dict[str, Any] = {
    "rate_hz": 44100,
    "n_mels": 229,
    "shape": [3, 4],
    "widths": [1, 2.5],
    "mode": "same",
    "seed": "unknown",
    "scores": {"f1": 1},
    "log": True,
    "inner": {"depth": 2},
    "pets": [{"kind": "dog", "breed": "collie"}, {"kind": "cat", "lives": 9}],
}


def test_a_table_becomes_a_dataclass_with_its_types():
    outer = from_table(Outer, TABLE, "network", PATH)
    assert outer == Outer(
        rate_hz=44100.0,
        n_mels=229,
        shape=(3, 4),
        widths=(1.0, 2.5),
        mode="same",
        seed="unknown",
        scores={"f1": 1.0},
        log=True,
        inner=Inner(2),
        pets=(Dog("collie"), Cat(9)),
    )
    assert [type(outer.rate_hz), type(outer.widths[0])] == [float, float]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_mel": 1}, r"unknown key 'n_mel' in \[network\] \(did you mean 'n_mels'\?\)"),
        ({"zzz": 1}, r"unknown key 'zzz' in \[network\]$"),
        ({"n_mels": 2.0}, r"'n_mels' in \[network\] must be a whole number, not 2.0"),
        ({"n_mels": True}, "must be a whole number, not True"),
        ({"log": 1}, "must be true or false, not 1"),
        ({"rate_hz": "44100"}, "must be a number, not '44100'"),
        ({"rate_hz": math.nan}, "must be a number, not nan"),
        ({"widths": [1.0, math.nan]}, "'widths'.* must be a number, not nan"),
        ({"shape": [1, 2, 3]}, "'shape'.* must hold 2 values, not 3"),
        ({"widths": ["a"]}, "'widths'.* must be a number, not 'a'"),
        ({"shape": 3}, "'shape'.* must be a list of 2 whole numbers, not 3"),
        ({"widths": 2.5}, "'widths'.* must be a list of numbers, not 2.5"),
        ({"pets": "dog"}, "'pets'.* must be a list of values, not 'dog'"),
        ({"pets": ["dog"]}, "'pets'.* must be a table, not 'dog'"),
        ({"mode": "full"}, "'mode'.* must be one of same, valid, not 'full'"),
        ({"seed": 1.5}, "'seed'.* must be a whole number or a string, not 1.5"),
        ({"scores": 0.5}, "'scores'.* must be a table, not 0.5"),
        ({"scores": {"f1": "high"}}, r"'f1' in \[network.scores\] must be a number, not 'high'"),
        ({"inner": {}}, r"key 'depth' is missing in \[network.inner\]"),
        ({"inner": 3}, r"'inner' in \[network\] must be a table, not 3"),
        ({"pets": [{"kind": "cow"}]}, r"'pets'.* must have a kind out of cat, dog, not 'cow'"),
        ({"pets": [{"kind": "cat"}]}, r"key 'lives' is missing in \[network.pets cat\]"),
    ],
)
def test_what_does_not_fit_is_named_with_its_table_and_file(change, message):
    with pytest.raises(ModelError, match=message) as caught:
        from_table(Outer, TABLE | change, "network", PATH)
    assert str(caught.value).startswith("here/model.toml: ".replace("/", str(PATH)[4]))


def test_a_missing_key_is_named():
    table = {key: value for key, value in TABLE.items() if key != "log"}
    with pytest.raises(ModelError, match=r"key 'log' is missing in \[network\]"):
        from_table(Outer, table, "network", PATH)


@pytest.mark.parametrize("content", [b"[network\n", b"a = 1\na = 2\n", b"\xff\xfe\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path, content):
    path = tmp_path / "model.toml"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.toml is not valid TOML"):
        read_toml(path)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"model\.toml cannot be read: No such file"):
        read_toml(tmp_path / "model.toml")


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"depth": 3}, "here/model.toml: key 'kind' is missing in [decoder]"),
        ({"kind": "deep"}, "unknown kind 'deep' in [decoder] (known: flat, inner)"),
        ({"kind": ["inner"]}, "unknown kind ['inner'] in [decoder] (known: flat, inner)"),
        ({"kind": "inner"}, "key 'depth' is missing in [decoder]"),
    ],
)
def test_what_is_not_registered_is_refused(table, problem):
    with pytest.raises(ModelError, match=re.escape(problem)):
        registered({"inner": (Inner, list), "flat": (Cat, set)}, table, "decoder", PATH)


def test_what_is_registered_comes_with_its_configuration():
    registry = {"inner": (Inner, list)}
    assert registered(registry, {"architecture": "inner", "depth": 3}, "network", PATH) == (
        Inner(3),
        list,
    )


def test_what_cannot_be_built_is_an_error_of_one_line():
    assert built(float, "2", "network", Path("model.toml")) == 2.0
    for make in (int, {}.__getitem__, lambda text: 1 / 0):
        with pytest.raises(ModelError, match=r"model\.toml: \[network\] describes nothing that"):
            built(make, "x", "network", Path("model.toml"))


def test_tables_that_disagree_about_time_are_refused():
    tables = {"front_end": {"hop_samples": 320, "sample_rate_hz": 16000}, "decoder": {}}
    check_clocks({**tables, "objective": {"hop_samples": 320}}, Path("r.toml"))
    message = r"r\.toml: hop_samples is 320 in \[front_end\] and 160 in \[decoder\]"
    with pytest.raises(ModelError, match=message):
        check_clocks({**tables, "decoder": {"hop_samples": 160}}, Path("r.toml"))
