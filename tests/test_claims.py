import multiprocessing
import threading
from pathlib import Path

import pytest

from amtcli import claims
from amtcli.claims import Claims


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "claims"


def _hold(folder, paths, ready, done):
    own = Claims(folder)
    ready.put(own.take(paths))
    done.wait()


@pytest.fixture
def other_process(folder):
    """A process that claims ``paths`` and holds them until it is ended."""
    context = multiprocessing.get_context("spawn")
    started = []

    def start(*paths):
        ready, done = context.Queue(), context.Event()
        process = context.Process(target=_hold, args=(folder, paths, ready, done), daemon=True)
        process.start()
        started.append(process)
        assert ready.get(timeout=30)
        return process

    yield start
    for process in started:
        process.kill()
        process.join()


def test_claim_of_another_process_is_seen_and_dies_with_it(folder, other_process):
    own = Claims(folder)
    process = other_process(Path("a.mid"))
    assert not own.take([Path("a.mid")])
    assert own.take([Path("b.mid")])
    process.kill()
    process.join()
    assert own.take([Path("a.mid")])


def test_all_or_none_are_claimed(folder, other_process):
    own, third = Claims(folder), Claims(folder)
    other_process(Path("b.mid"))
    assert not own.take([Path("a.mid"), Path("b.mid"), Path("c.mid")])
    assert third.take([Path("a.mid"), Path("c.mid")])


def test_own_claims_count_until_released(folder):
    own = Claims(folder)
    path = Path("a.mid")
    assert own.take([path])
    assert not own.take([path])
    own.release([path, Path("never.mid")])
    assert own.take([path])
    own.release_all()
    assert Claims(folder).take([path])


def test_a_lock_that_two_of_our_paths_share_is_held_until_both_are_released(folder, monkeypatch):
    monkeypatch.setattr(claims, "_N_LOCKS", 1)
    own, other = Claims(folder), Claims(folder)
    assert own.take([Path("a.mid")]) and own.take([Path("b.mid"), Path("c.mid")])
    own.release([Path("a.mid"), Path("b.mid")])
    assert not other.take([Path("d.mid")])
    own.release([Path("c.mid")])
    assert other.take([Path("d.mid")])


def test_locks_are_taken_in_one_order_whatever_stands_for_them(folder, monkeypatch):
    numbers, taken = {"a.mid": "9", "b.mid": "5", "c.mid": "5", "d.mid": "9"}, []

    class Noted(claims.FileLock):
        def acquire(self, *args, **options):
            taken.append(Path(self.lock_file).stem)
            return super().acquire(*args, **options)

    monkeypatch.setattr(claims, "_lock_name", lambda path: numbers[Path(path).name])
    monkeypatch.setattr(claims, "FileLock", Noted)
    for names in (("a.mid", "b.mid"), ("c.mid", "d.mid")):
        own = Claims(folder)
        assert own.take(map(Path, names))
        own.release_all()
    assert taken == ["5", "9", "5", "9"]


def test_path_is_one_however_it_is_spelled(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holder = Claims(folder)
    assert holder.take([Path("x/../a.mid")])
    assert not Claims(folder).take([tmp_path / "a.mid"])


def test_waiting_ends_when_the_claim_is_free(folder, other_process):
    process = other_process(Path("a.mid"))
    killer = threading.Timer(0.3, process.kill)
    killer.start()
    assert not Claims(folder).take([Path("a.mid")])
    assert Claims(folder).take([Path("a.mid")], wait=True)
    killer.join()


def test_lock_files_stay_few_and_empty(folder, monkeypatch):
    monkeypatch.setattr(claims, "_N_LOCKS", 16)
    for i in range(200):
        own = Claims(folder)
        assert own.take([Path(f"{i}.mid")])
        own.release_all()
    files = list(folder.iterdir())
    assert len(files) == 16
    assert sum(file.stat().st_size for file in files) == 0


def test_without_a_place_for_locks_all_is_granted(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    own = Claims(blocked)
    assert own.take([Path("a.mid")])
    assert own.take([Path("a.mid")])
