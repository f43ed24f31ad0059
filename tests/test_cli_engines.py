"""Two models in one command: what the options say of the second."""

import pytest
from toy import toy_model

from amtcli.catalog import locate
from amtcli.cli import engines
from amtcli.cli.engines import EngineChoice, Producer
from amtcli.cli.progress import NORMAL, Screen
from amtcli.engine import Engine, EngineOptions
from amtcli.model_config import read_config


@pytest.mark.parametrize(
    ("named", "of_reader"), [("int8", "auto"), ("bf16", "bf16"), ("auto", "auto")]
)
def test_int8_is_asked_of_the_transcriber_alone(monkeypatch, named, of_reader):
    asked = []

    def open_reader(choice, screen):
        asked.append((choice.model, choice.precision))
        return Engine(toy_model(monkeypatch), EngineOptions("cpu")), Producer("reader", "2")

    monkeypatch.setattr(engines, "open_reader", open_reader)
    choice = EngineChoice(
        "swift", "cpu", None, named, fast=False, offline=True, refines_velocity=True
    )
    swift = read_config(locate("swift"))
    _, both = engines.open_engine(choice, Screen(NORMAL, 1))
    assert asked == [("velocity-swift", of_reader)]
    assert both == Producer(f"swift {swift.provenance.version} + reader", "2")
