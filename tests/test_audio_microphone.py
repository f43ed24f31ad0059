"""The microphone through a stand-in for sounddevice, which has PortAudio's ways of failing."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from amtcli.audio.microphone import Microphone
from amtcli.errors import AudioError, UsageError


class PortAudioError(Exception):
    pass


class Stream:
    def __init__(self, rate_hz, channels, dtype):
        self.settings, self.calls, self.overflows = (rate_hz, channels, dtype), [], False

    def start(self):
        self.calls.append("start")

    def close(self):
        self.calls.append("close")

    def read(self, n_samples):
        if n_samples > 1000:
            raise PortAudioError("Device unavailable")
        return np.full((n_samples, 1), 0.25, np.float32), n_samples > 100


def devices(**changes):
    working = {
        "PortAudioError": PortAudioError,
        "InputStream": Stream,
        "query_devices": lambda kind: {"default_samplerate": 48000.0},
    }
    return SimpleNamespace(**(working | changes))


def fails(error):
    def call(*_, **__):
        raise error

    return call


def test_samples_come_at_the_devices_own_rate(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", devices())
    microphone = Microphone()
    assert microphone.rate_hz == 48000
    assert microphone.read(50).tolist() == [[0.25]] * 50
    assert microphone.n_overflows == 0
    microphone.read(200)
    assert microphone.n_overflows == 1
    microphone.close()
    assert microphone._stream.settings == (48000, 1, "float32")
    assert microphone._stream.calls == ["start", "close"]


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(UsageError, match=r"needs sounddevice: pip install 'amtcli\[live\]'$"):
        Microphone()


def test_a_missing_library_is_named(monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError, match="needs the PortAudio library: install it"):
        Microphone()


@pytest.mark.parametrize(
    "changes",
    [
        {"query_devices": fails(PortAudioError("no default input"))},
        {"query_devices": fails(ValueError("no default input"))},
        {"InputStream": fails(PortAudioError("no default input"))},
    ],
)
def test_a_missing_device_is_one_clear_line(monkeypatch, changes):
    monkeypatch.setitem(sys.modules, "sounddevice", devices(**changes))
    with pytest.raises(AudioError, match=r"^no microphone can be opened \(no default input\); "):
        Microphone()


def test_a_device_that_goes_away_is_said_to(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", devices())
    with pytest.raises(AudioError, match=r"cannot be read any more \(Device unavailable\)"):
        Microphone().read(2000)
