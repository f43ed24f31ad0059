"""Batches made ahead: the same by anybody, and nobody stays behind or waits for ever."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_training as toy

from amtcli.errors import DataError
from amtcli.training.batches import Share, WindowMaker
from amtcli.training.feeding import ahead_of, auto_workers, feed
from amtcli.training.recipe import SamplingConfig

SHARE = Share(2, 2, 0, 1)

# Feeds for ever, beginning anew when a worker has died; prints the numbers of the workers.
PROGRAM = """
import multiprocessing, sys
import test_training_feeding as tests
from amtcli.errors import TrainingError
if __name__ == "__main__":
    maker = tests.maker(sys.argv[1])
    while True:
        batches = tests.feed(maker, tests.SHARE, range(10**6), 2)
        next(batches)
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        try:
            for _ in batches:
                pass
        except TrainingError as error:
            print(error, flush=True)
"""


def maker(folder):
    recordings = toy.write_pack(Path(folder) / "pack").split("train")
    objective = toy.ToyObjective(toy.ToyObjectiveConfig(False))
    return WindowMaker(recordings, objective, SamplingConfig(toy.LENGTH_SAMPLES, 1, 100), None, 7)


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_change_nothing(tmp_path):
    alone, by_two = (list(feed(maker(tmp_path), SHARE, range(3), n)) for n in (0, 2))
    assert len(alone) == len(by_two) == 6
    for one, other in zip(alone, by_two, strict=True):
        np.testing.assert_array_equal(one.inputs, other.inputs)
        np.testing.assert_array_equal(one.targets["frames"], other.targets["frames"])
        assert one.names == other.names
    assert not np.array_equal(alone[0].inputs, alone[1].inputs)


@pytest.mark.parametrize("n_workers", [0, 1])
def test_a_damaged_recording_is_named(tmp_path, n_workers):
    damaged = maker(tmp_path)
    for file in (tmp_path / "pack" / "recordings").iterdir():
        file.write_bytes(b"no recording")
    with pytest.raises(DataError, match=r"piece\d\.h5"):
        list(feed(damaged, SHARE, range(3), n_workers))


def test_closing_ends_the_thread(tmp_path):
    before = threading.active_count()
    ahead = feed(maker(tmp_path), SHARE, range(1000), 0)
    next(ahead)
    assert threading.active_count() == before + 1
    ahead.close()
    assert threading.active_count() == before


def test_workers_die_with_the_loop_and_the_loop_learns_of_their_death(tmp_path):
    folder = str(Path(__file__).parent)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": folder},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first, second = map(int, process.stdout.readline().split())
    os.kill(first, signal.SIGTERM)  # as when all of a group are told to end: the loop decides
    os.kill(second, signal.SIGINT)
    time.sleep(0.2)
    assert lives(first)
    assert lives(second)
    os.kill(first, signal.SIGKILL)
    assert "a worker process ended with code" in process.stdout.readline()
    assert not lives(second)
    others = list(map(int, process.stdout.readline().split()))
    assert len(others) == 2
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 30
    while any(map(lives, others)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(lives, others))


def test_items_are_taken_ahead_in_order_and_errors_come_where_they_arose():
    def items():
        yield 1
        yield 2
        raise ValueError("three")

    ahead = ahead_of(items(), 1)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="three"):
        next(ahead)
    assert list(ahead_of(iter(range(20)), 3)) == list(range(20))


def test_a_cpu_makes_windows_beside_the_network_by_a_thread():
    assert auto_workers(torch.device("cpu")) == 0
    assert 1 <= auto_workers(torch.device("cuda")) <= 8
