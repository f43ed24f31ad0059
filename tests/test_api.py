import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from filled import audio
from metre_model import write_metre
from swift_model import write_swift
from toy import RATE_HZ, toy_model

import amtcli
from amtcli import api, catalog
from amtcli.engine import Engine
from amtcli.errors import AudioError, ModelError
from amtcli.model_config import read_config
from amtcli.model_writing import rewrite_config


@pytest.fixture
def toy_engine(monkeypatch):
    model = toy_model(monkeypatch)
    monkeypatch.setattr(api, "_engine", lambda *key: Engine(model, key[-1]))


def test_samples_become_a_performance_and_nothing_prints(toy_engine, capfd):
    audio = np.full((2, 300), 0.5)
    audio[:, 123] = 1.0
    performance = amtcli.transcribe(audio, source_rate_hz=RATE_HZ, device="cpu")
    assert [n.onset_s for n in performance.notes if n.pitch == 60] == [0.123]
    assert capfd.readouterr() == ("", "")


def test_a_path_may_be_a_string_and_its_name_is_in_the_error(toy_engine, tmp_path):
    missing = tmp_path / "no such file.wav"
    with pytest.raises(AudioError, match=r"no such file\.wav: no such file"):
        amtcli.transcribe(str(missing), device="cpu")


def test_without_a_name_the_default_model_listens(monkeypatch, tmp_path):
    write_swift(tmp_path / "swift")
    monkeypatch.setattr(catalog, "shipped_folder", lambda: tmp_path)
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    api._engine.cache_clear()
    sound = audio(8000)
    unnamed, named = (
        amtcli.transcribe(sound, source_rate_hz=16000, device="cpu", **chosen)
        for chosen in ({}, {"model": str(tmp_path / "swift")})
    )
    api._engine.cache_clear()
    assert len(unnamed.notes) > 20
    assert unnamed == named


def test_a_model_that_has_changed_is_loaded_anew(monkeypatch, tmp_path):
    write_swift(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    sound = audio(8000)

    def n_notes():
        return len(
            amtcli.transcribe(sound, source_rate_hz=16000, model="model", device="cpu").notes
        )

    assert n_notes() > 20
    config = read_config(tmp_path / "model")
    deaf = replace(config, decoder=config.decoder | {"onset_threshold": 1.1})
    rewrite_config(tmp_path / "model", deaf)
    assert n_notes() == 0
    write_swift(tmp_path / "other" / "model")
    monkeypatch.chdir(tmp_path / "other")
    assert n_notes() > 20
    api._engine.cache_clear()


def test_what_is_no_recording_is_said_so():
    with pytest.raises(AudioError, match="a NumPy array, not a list"):
        amtcli.transcribe([0.0] * 8000, source_rate_hz=16000)


def test_an_unknown_model_is_named(monkeypatch):
    monkeypatch.setenv("AMT_OFFLINE", "1")
    with pytest.raises(ModelError, match="transkun-v3"):
        amtcli.transcribe(np.zeros(10), source_rate_hz=RATE_HZ, model="transkun-v3")


def test_a_model_that_hears_no_sound_is_refused(tmp_path):
    with pytest.raises(ModelError, match="use it with --beats"):
        amtcli.transcribe(audio(8000), source_rate_hz=16000, model=str(write_metre(tmp_path / "m")))


def test_importing_the_package_is_cheap():
    code = "import sys, amtcli; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
