"""Recordings that are hardly any, through the real command line and the real model at once."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from amtcli.midi_reading import read_performance

RATE_HZ = 16000


@pytest.fixture
def folder(tmp_path):
    noise = np.random.default_rng(0).normal(0, 0.1, RATE_HZ)
    broken = noise.copy()
    broken[100:200], broken[300] = np.nan, np.inf
    for name, samples in {
        "one_sample": noise[:1] / 100,
        "20_ms": noise[: RATE_HZ // 50],
        "silence": np.zeros(RATE_HZ),
        "nan_and_inf": broken,
        "constant": np.full(RATE_HZ, 0.5),
        "no_samples": noise[:0],
    }.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, RATE_HZ, subtype="FLOAT")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("this is not a recording\n")
    return tmp_path


def test_what_can_be_transcribed_is_and_the_rest_is_named(folder, transkun_folder):
    command = [sys.executable, "-m", "amtcli", "transcribe", folder, "--model", transkun_folder]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    good = {"one_sample", "20_ms", "silence", "nan_and_inf", "constant"}
    assert {path.stem for path in folder.glob("*.mid")} == good
    assert [p.name for p in folder.iterdir() if p.suffix not in (".wav", ".mid")] == []
    assert read_performance(folder / "silence.mid").notes == ()
    lines = done.stderr.splitlines()
    assert not [line for line in lines if "Traceback" in line]
    for name in ("empty", "no_samples", "text"):
        assert len([line for line in lines if f"{name}.wav" in line]) == 1, done.stderr
    quiet, warning = sorted(line for line in lines if "warning" in line)[::-1]
    assert "nan_and_inf.wav" in warning and "101" in warning
    assert "one_sample.wav: warning: very quiet" in quiet
    assert "5 transcribed, 3 failed" in lines[-1]
