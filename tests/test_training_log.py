"""The log: lines of JSON and curves, without what a broken run wrote too much."""

import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from amtcli.errors import TrainingError, UsageError
from amtcli.training.log import LOG_FILE, TENSORBOARD_FOLDER, RunLog, read_log


def test_lines_and_curves_hold_what_was_written(tmp_path):
    with RunLog(tmp_path, 0, 0, None) as log:
        log.write("train", 10, {"loss": 0.5, "device": "cpu"})
        log.write("validation", 20, {"onset_f1": 0.75})
    assert read_log(tmp_path) == [
        {"kind": "train", "step": 10, "loss": 0.5, "device": "cpu"},
        {"kind": "validation", "step": 20, "onset_f1": 0.75},
    ]
    curves = EventAccumulator(str(tmp_path / TENSORBOARD_FOLDER))
    curves.Reload()
    assert curves.Tags()["scalars"] == ["train/loss", "validation/onset_f1"]
    (point,) = curves.Scalars("validation/onset_f1")
    assert (point.step, point.value) == (20, 0.75)


def test_a_log_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "run").mkdir()
    with RunLog(tmp_path / "run", 0, 0, None) as log:
        (tmp_path / "run" / LOG_FILE).unlink()
        (tmp_path / "run" / LOG_FILE).mkdir()
        with pytest.raises(TrainingError, match=r"log\.jsonl cannot be written: Is a directory"):
            log.write("train", 10, {"loss": 0.5})


def test_what_came_after_the_state_is_dropped(tmp_path):
    with RunLog(tmp_path, 0, 0, None) as log:
        for step in (10, 20, 30):
            log.write("train", step, {"loss": float(step)})
            log.write("validation", step, {"loss": -1.0})
    with (tmp_path / LOG_FILE).open("a") as file:
        file.write('{"kind": "tra')  # killed while it wrote
    with RunLog(tmp_path, 20, 10, None) as log:
        log.write("train", 30, {"loss": 3.0})
    lines = [(line["step"], line["loss"]) for line in read_log(tmp_path)]
    assert lines == [(10, 10.0), (10, -1.0), (20, 20.0), (30, 3.0)]


def test_a_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UsageError, match=r"amtcli\[wandb\]"):
        RunLog(tmp_path, 0, 0, "project")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"amtcli\[train\]"):
        RunLog(tmp_path, 0, 0, None)


def test_wandb_is_told_the_same_numbers(tmp_path, monkeypatch):
    class Run:
        def __init__(self):
            self.logged, self.finished = [], False

        def log(self, numbers, step):
            self.logged.append((step, numbers))

        def finish(self):
            self.finished = True

    class Wandb:
        @staticmethod
        def init(**arguments):
            given.append(arguments)
            return run

    run, given = Run(), []
    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    for _ in range(2):
        with RunLog(tmp_path, 0, 0, "keys") as log:
            log.write("train", 5, {"loss": 0.5, "device": "cpu"})
    assert run.logged == [(5, {"train/loss": 0.5})] * 2
    assert run.finished
    assert given[0]["project"] == "keys"
    assert given[0]["id"] == given[1]["id"]  # the same run goes on
