"""What the processor is said to be fast at, and what follows."""

import pytest
import torch

from amtcli import devices
from amtcli.devices import is_fast_at_bf16, is_fast_at_int8, resolve_device, resolve_precision
from amtcli.errors import UsageError

CPU = torch.device("cpu")


def processor(monkeypatch, **capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize(
    ("capabilities", "is_fast"),
    [
        ({"cpu_name": "AMD EPYC", "avx512_bf16": True}, True),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True}, False),
        ({"cpu_name": "Intel Xeon", "avx512_bf16": True, "amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"cpu_name": "AMD EPYC", "avx2": True}, False),
        ({}, False),
    ],
)
def test_bf16_is_fast_by_tiles_or_where_vectors_are(monkeypatch, capabilities, is_fast):
    processor(monkeypatch, **capabilities)
    assert is_fast_at_bf16(CPU) == is_fast


@pytest.mark.parametrize(
    ("capabilities", "has_operators", "is_fast"),
    [
        ({"avx512_vnni": True}, True, True),
        ({"avx_vnni": True}, True, True),
        ({"avx512_vnni": True}, False, False),
        ({"avx512_vnni": False, "avx2": True}, True, False),
        ({}, True, False),
    ],
)
def test_int8_needs_vnni_and_the_operators(monkeypatch, capabilities, has_operators, is_fast):
    processor(monkeypatch, **capabilities)
    monkeypatch.setattr(devices.int8_convolution, "is_available", lambda: has_operators)
    assert is_fast_at_int8(CPU) == is_fast
    assert not is_fast_at_int8(torch.device("meta"))


@pytest.mark.parametrize(
    ("fast_at", "allowed", "chosen"),
    [
        ({"int8", "bf16"}, ("bf16", "int8"), "int8"),
        ({"int8", "bf16"}, ("bf16",), "bf16"),
        ({"bf16"}, ("bf16", "int8"), "bf16"),
        ({"int8"}, ("bf16",), "float32"),
        (set(), ("bf16", "int8"), "float32"),
    ],
)
def test_auto_is_the_fastest_that_is_allowed(monkeypatch, fast_at, allowed, chosen):
    monkeypatch.setattr(devices, "is_fast_at_bf16", lambda device: "bf16" in fast_at)
    monkeypatch.setattr(devices, "is_fast_at_int8", lambda device: "int8" in fast_at)
    assert resolve_precision("auto", CPU, allowed) == chosen
    assert resolve_precision("float32", CPU, allowed) == "float32"
    assert resolve_precision("bf16", CPU, ()) == "bf16"


def test_int8_where_there_is_none_is_refused(monkeypatch):
    monkeypatch.setattr(devices, "is_fast_at_int8", lambda device: False)
    with pytest.raises(UsageError, match=r"--precision int8: cpu has no fast int8.*float32"):
        resolve_precision("int8", CPU, ())


def test_devices_that_no_machine_has_are_unknown():
    with pytest.raises(UsageError, match=r"--device gpu is unknown; choose auto, cpu, cuda,"):
        resolve_device("gpu")
    assert resolve_device("cpu:0").type == "cpu"
