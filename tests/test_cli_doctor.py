import importlib
import json

import pytest
import toy_folder
import typer
from typer.testing import CliRunner

from amtcli import __version__
from amtcli.cli import doctor as doctor_module
from amtcli.cli.doctor import doctor
from amtcli.errors import AmtError
from amtcli.model_writing import write_model

APP = typer.Typer()
APP.command()(doctor)


def run(*arguments):
    """Standard output and, where there is one, the error of a run."""
    result = CliRunner().invoke(APP, list(arguments))
    if result.exception and not isinstance(result.exception, AmtError):
        raise result.exception
    return result.stdout, result.exception


def state_of(name, stdout):
    (state,) = [m["state"] for m in json.loads(stdout)["models"] if m["name"] == name]
    return state


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path))
    write_model(tmp_path / "mine", toy_folder.CONFIG, toy_folder.TENSORS)
    return tmp_path / "mine"


@pytest.fixture
def without(monkeypatch):
    """Make the import of a package fail."""

    def fail(name, error):
        original = importlib.import_module
        monkeypatch.setattr(
            doctor_module.importlib,
            "import_module",
            lambda wanted: raise_(error) if wanted == name else original(wanted),
        )

    return fail


def raise_(error):
    raise error


def test_a_sound_installation_has_no_problems(folder):
    import torch

    stdout, error = run("--json")
    assert error is None
    found = json.loads(stdout)
    assert found["versions"]["amt"] == __version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["libsndfile"].count(".") == 2
    assert found["formats"]["wav"] == found["formats"]["flac"] == "soundfile"
    assert [device["auto"] for device in found["devices"]].count(True) == 1
    assert found["devices"][0]["device"] == "cpu"
    assert found["model_folder"] == str(folder.parent)
    assert state_of("mine", stdout) == "imported, sha256 ok"
    assert state_of("transkun-v2", stdout) == "available"
    assert found["problems"] == []


def test_people_read_the_same(folder):
    stdout, error = run()
    assert error is None
    assert f"amt          {__version__}\n" in stdout
    assert "  mine 1.2: imported, sha256 ok\n" in stdout
    assert stdout.endswith("\nproblems: 0\n")


def test_damaged_weights_are_a_problem(folder):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    stdout, error = run("--json")
    assert state_of("mine", stdout) == "damaged"
    assert f"{path} is damaged" in str(error)
    assert error.exit_code == 1


def test_a_damaged_configuration_is_a_problem(folder):
    (folder / "model.toml").write_text("format = 1\n")
    stdout, error = run("--json")
    assert state_of("mine", stdout) == "damaged"
    assert "key 'network' is missing" in str(error)


def test_without_av_its_formats_say_what_to_install(without):
    without("av", ModuleNotFoundError("No module named 'av'"))
    stdout, error = run("--json")
    found = json.loads(stdout)
    assert error is None
    assert found["versions"]["av"] == "not installed"
    assert found["formats"]["m4a"] == 'no: `pip install "amtcli[av]"`'
    assert found["formats"]["mp3"] == "soundfile"


def test_a_broken_library_is_a_problem_and_the_rest_is_still_told(without):
    without("soundfile", OSError("cannot load library 'libsndfile.so'\nmore"))
    stdout, error = run("--json")
    found = json.loads(stdout)
    assert "soundfile cannot be loaded (cannot load library 'libsndfile.so')" in str(error)
    assert found["versions"]["soundfile"] == "broken"
    assert found["formats"]["wav"].startswith("no")
    assert found["devices"][0]["device"] == "cpu"


def test_a_needed_package_that_is_missing_is_a_problem(without):
    without("torch", ModuleNotFoundError("No module named 'torch'"))
    stdout, error = run()
    assert str(error) == "torch is not installed: `pip install torch`"
    assert stdout.endswith("\nproblems: 1\n")
