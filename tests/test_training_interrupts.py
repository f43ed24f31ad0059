"""Signals, the debug file and the clock."""

import os
import signal
import threading

import pytest

from amtcli.training.interrupts import Interrupts, can_debug


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_to_stop_and_handlers_come_back(tmp_path, number):
    before = signal.getsignal(number)
    with Interrupts(tmp_path, None) as interrupts:
        assert not interrupts.stop
        os.kill(os.getpid(), number)
        assert interrupts.stop
    assert signal.getsignal(number) is before


def test_the_second_interrupt_ends_at_once(tmp_path):
    with Interrupts(tmp_path, None), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_usr1_asks_for_the_debugger_once(tmp_path):
    with Interrupts(tmp_path, None) as interrupts:
        os.kill(os.getpid(), signal.SIGUSR1)
        assert [interrupts.wants_debugger(), interrupts.wants_debugger()] == [True, False]


def test_a_file_asks_for_the_debugger_once(tmp_path):
    with Interrupts(tmp_path, None) as interrupts:
        (tmp_path / "debug").touch()
        assert [interrupts.wants_debugger(), interrupts.wants_debugger()] == [True, False]
        assert not (tmp_path / "debug").exists()


def test_who_has_no_folder_leaves_the_file_to_others(tmp_path):
    (tmp_path / "debug").touch()
    with Interrupts(None, None) as interrupts:
        assert not interrupts.wants_debugger()
    assert (tmp_path / "debug").exists()


def test_the_clock_runs_out(tmp_path):
    assert Interrupts(tmp_path, 0.0).out_of_time
    assert not Interrupts(tmp_path, 3600.0).out_of_time
    assert not Interrupts(tmp_path, None).out_of_time


def test_other_threads_have_no_signals_but_files(tmp_path):
    seen = []

    def run():
        with Interrupts(tmp_path, None) as interrupts:
            (tmp_path / "debug").touch()
            seen.append(interrupts.wants_debugger())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [True]


def test_a_debugger_needs_somebody_to_talk_to(monkeypatch):
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    monkeypatch.setattr("sys.breakpointhook", __import__("sys").__breakpointhook__)
    monkeypatch.setattr("sys.stdin", open(os.devnull))  # noqa: PTH123, SIM115
    assert not can_debug()
    monkeypatch.setenv("PYTHONBREAKPOINT", "remote_pdb.set_trace")
    assert can_debug()
