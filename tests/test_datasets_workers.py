import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amtcli.datasets.workers import map_unordered
from amtcli.errors import AmtError, DataError

CHILDREN = """
import sys, time
sys.path[:0] = {path!r}
from amtcli.datasets.workers import map_unordered
from test_datasets_workers import say_who_and_sleep

if __name__ == "__main__":
    list(map_unordered(say_who_and_sleep, [sys.argv[1]] * 2, 2))
"""


def who(number):
    return number, os.getpid()


def refuse(number):
    if number == 3:
        raise DataError("three is refused")
    return number


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def say_who_and_sleep(folder):
    mark = Path(folder, str(os.getpid()))
    mark.touch()
    time.sleep(60)
    mark.unlink()


def answer_or_sleep(folder):
    if folder:
        say_who_and_sleep(folder)
    return folder


def test_results_come_from_other_processes():
    results = dict(map_unordered(who, range(8), 2))
    assert sorted(results) == list(range(8))
    assert os.getpid() not in results.values()


def test_one_job_works_here_and_in_order():
    assert list(map_unordered(who, range(3), 1)) == [(n, os.getpid()) for n in range(3)]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_errors_come_back(n_jobs):
    with pytest.raises(DataError, match="three is refused"):
        list(map_unordered(refuse, range(6), n_jobs))


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_is_told():
    with pytest.raises(AmtError, match="a worker process was killed"):
        list(map_unordered(die, range(4), 2))


def test_what_nobody_waits_for_is_given_up(tmp_path):
    results = map_unordered(answer_or_sleep, ["", str(tmp_path), str(tmp_path)], 2)
    assert next(results) == ""
    wait_for(lambda: any(tmp_path.iterdir()))
    results.close()
    marks = list(tmp_path.iterdir())
    assert marks  # they would be gone if it had waited
    assert not any(is_alive(int(mark.name)) for mark in marks)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_workers_end_with_a_killed_parent(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(CHILDREN.format(path=[path for path in sys.path if path]))
    marks = tmp_path / "marks"
    marks.mkdir()
    parent = subprocess.Popen([sys.executable, script, marks])
    wait_for(lambda: len(list(marks.iterdir())) == 2)
    parent.kill()
    parent.wait()
    workers = [int(mark.name) for mark in marks.iterdir()]
    wait_for(lambda: not any(map(is_alive, workers)))
    assert [pid for pid in workers if is_alive(pid)] == []


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
        return status.rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for(condition, limit_s=30):
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)
