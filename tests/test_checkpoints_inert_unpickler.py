import io
import os
import pickle

import pytest

from amtcli.checkpoints.inert_unpickler import (
    Instance,
    UnreadablePickleError,
    interpret,
)


class Calls:
    """Pickled as a call of ``function``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def read(value, protocol=2):
    return interpret(io.BytesIO(pickle.dumps(value, protocol)))


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, -2.5, None, True, "x" * 300], 7: (), 2.5: {}, None: [1 << 80]},
        ((1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)),
        [[i] for i in range(2000)],
    ],
)
def test_plain_values_come_out_as_they_are(value):
    assert read(value) == value


def test_one_value_in_two_places_stays_one():
    shared = [1]
    first, second = read((shared, shared))
    assert first is second


def test_calls_are_noted_and_not_made(tmp_path):
    called = read([Calls(os.mkdir, str(tmp_path / "made")), Calls(eval, "1 / 0")])
    assert called[0].class_name.name == "mkdir"
    assert called[0].arguments == (str(tmp_path / "made"),)
    assert called[1].class_name.name == "eval"
    assert not (tmp_path / "made").exists()


def test_objects_keep_their_class_name_and_state():
    error = read(OSError(2, "gone"))
    assert isinstance(error, Instance)
    assert error.class_name.name == "OSError"
    assert error.arguments == (2, "gone")


def test_calling_what_a_call_gave_is_refused():
    """As in getattr(os, "mkdir")("x"), the way around a list of forbidden names."""
    with pytest.raises(UnreadablePickleError, match="calls something that is no class"):
        interpret(io.BytesIO(b"\x80\x02cbuiltins\ngetattr\nK\x01\x85RK\x02\x85R."))


@pytest.mark.parametrize("protocol", [0, 4])
def test_protocols_that_torch_does_not_write_are_refused(protocol):
    with pytest.raises(UnreadablePickleError, match="which PyTorch does not"):
        read({"a": [1]}, protocol)


@pytest.mark.parametrize(
    ("pickled", "error"),
    [
        (b"", ValueError),
        (b"\x80\x02]", ValueError),
        (b"\x80\x02.", IndexError),
        (b"\x80\x02t.", IndexError),
        (b"\x80\x02K\x01t.", UnreadablePickleError),  # a tuple without its mark
        (b"\x80\x02K\x01\x86.", UnreadablePickleError),  # a pair of one
        (b"\x80\x02h\x05.", KeyError),  # something never kept
        (b"\x80\x02}K\x01a.", UnreadablePickleError),  # an append to a dict
        (b"\x80\x02}}K\x01s.", UnreadablePickleError),  # a dict for a key
        (b"\x80\x02X\xff\xff\xff\x7fa.", ValueError),  # two gigabytes of text, promised
    ],
)
def test_pickles_that_contradict_themselves_are_refused(pickled, error):
    with pytest.raises(error):
        interpret(io.BytesIO(pickled))
