import contextlib
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from amtcli import files
from amtcli.errors import AmtError
from amtcli.files import (
    all_files_below,
    is_special,
    remove_stale_temporaries,
    write_atomically,
)

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions and limits")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="lists open files in /proc")
MEBIBYTE = bytes(1 << 20)

# Stops between the last byte on disk and the new name.
STOPPED_WRITER = """
import os, sys, time
from pathlib import Path
from amtcli import files
def wait(descriptor):
    print("written", flush=True)
    time.sleep(60)
os.fsync = wait
files.write_atomically(Path(os.fsdecode(sys.argv[1])), b"never finished")
"""


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@contextlib.contextmanager
def stopped_writer(path):
    """A process that is writing ``path``, killed with signal 9 at the end."""
    command = [sys.executable, "-c", STOPPED_WRITER, os.fsencode(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"written\n"
            yield process
        finally:
            process.kill()


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "new" / "folder" / "song.mid"
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    write_atomically(path, MEBIBYTE)
    assert path.read_bytes() == MEBIBYTE
    assert names(path.parent) == ["song.mid"]


@pytest.mark.parametrize(
    "name",
    [
        "a" * 246 + ".mid",  # 250 bytes
        "é" * 123 + ".mid",
        "絆 & \"quoted\" 'too' 🎹.mid",
        "-.mid",
    ],
)
@posix_only
def test_odd_names(tmp_path, name):
    write_atomically(tmp_path / name, b"data")
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"data"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse names that are no UTF-8")
def test_a_name_that_is_no_utf_8(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff\xfe caf\xe9.mid")
    write_atomically(path, b"data")
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == b"data"


@posix_only
def test_the_umask_decides_the_permissions(tmp_path):
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "song.mid", b"data")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "song.mid").stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a small tmpfs")
def test_a_full_disk(tmp_path):
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no leave to mount a file system")
    try:
        write_atomically(tmp_path / "song.mid", b"old")
        with pytest.raises(AmtError, match="No space left on device; free some space"):
            write_atomically(tmp_path / "song.mid", MEBIBYTE)
        assert names(tmp_path) == ["song.mid"]
        assert (tmp_path / "song.mid").read_bytes() == b"old"
    finally:
        subprocess.run(["umount", tmp_path], check=True)


@posix_only
def test_a_limit_on_file_size_leaves_what_was_there(tmp_path):
    resource = pytest.importorskip("resource")
    path = tmp_path / "song.mid"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(AmtError, match=r"song\.mid cannot be written: File too large"):
            write_atomically(path, MEBIBYTE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path) == ["song.mid"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "Permission denied; choose another folder"),
        (OSError(5, "Input/output error"), "Input/output error; choose another place"),
    ],
)
def test_a_failing_disk_in_one_line(tmp_path, monkeypatch, error, message):
    def fail(descriptor):
        raise error

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(AmtError, match=message) as caught:
        write_atomically(tmp_path / "song.mid", b"data")
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_an_interruption_leaves_nothing_and_goes_on_upwards(tmp_path, monkeypatch):
    def interrupt(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "song.mid", b"data")
    assert names(tmp_path) == []


@posix_only
def test_a_read_only_folder():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "locked"
        folder.mkdir(0o555)
        Path(name).chmod(0o755)
        with unprivileged(), pytest.raises(AmtError, match="Permission denied; choose another"):
            write_atomically(folder / "song.mid", b"data")
        with unprivileged(), pytest.raises(AmtError, match="Permission denied; choose another"):
            write_atomically(folder / "deeper" / "song.mid", b"data")
        assert names(folder) == []


@contextlib.contextmanager
def unprivileged():
    """Without root's leave to write everywhere."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


@posix_only
def test_paths_that_can_be_no_file(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder.mid").mkdir()
    for path, message in [
        (tmp_path / "file" / "song.mid", "cannot be written: .*; a part of this path is a file"),
        (tmp_path / "file" / "deeper" / "song.mid", "; a part of this path is a file"),
        (tmp_path / "folder.mid", "cannot be written: .*; choose another name"),
        (tmp_path / ("a" * 252 + ".mid"), "cannot be written: .*; choose a shorter name"),
    ]:
        with pytest.raises(AmtError, match=message):
            write_atomically(path, b"data")
    assert names(tmp_path) == ["file", "folder.mid"]
    assert (tmp_path / "file").read_bytes() == b"old"


@posix_only
def test_a_device_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        write_atomically(pipe, b"data")
        assert reader.communicate(timeout=10)[0] == b"data"
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.fixture
def stream(tmp_path):
    """An open file, ``end`` a link to it as ``/dev/stdout`` is, by way of a second link."""
    with (tmp_path / "stream").open("wb", buffering=0) as file:
        (tmp_path / "number").symlink_to(f"/proc/self/fd/{file.fileno()}")
        (tmp_path / "end").symlink_to("number")
        yield file


@linux_only
def test_a_link_to_an_open_file_is_written_to_where_that_file_is(tmp_path, stream):
    before = names(tmp_path)
    stream.write(b"before, ")
    write_atomically(tmp_path / "end", b"data")
    stream.write(b", after")
    assert (tmp_path / "stream").read_bytes() == b"before, data, after"
    assert (tmp_path / "end").readlink() == Path("number")
    assert names(tmp_path) == before


@linux_only
def test_an_open_file_of_another_process_is_written_to_and_not_replaced(tmp_path):
    out = tmp_path / "out"
    with (
        out.open("wb") as file,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=file) as process,
    ):
        (tmp_path / "end").symlink_to(f"/proc/{process.pid}/fd/1")
        write_atomically(tmp_path / "end", b"data")
        process.communicate(timeout=10)
        assert os.fstat(file.fileno()).st_ino == out.stat().st_ino
    assert (out.read_bytes(), names(tmp_path)) == (b"data", ["end", "out"])


@linux_only
def test_what_is_special(tmp_path, stream):
    (tmp_path / "plain").symlink_to("stream")
    (tmp_path / "folder").symlink_to("/proc/self/fd")
    (tmp_path / "loop").symlink_to("loop")
    own = f"folder/{stream.fileno()}"
    found = [is_special(tmp_path / name) for name in ("end", "number", own, os.devnull)]
    assert found == [True] * 4
    found = [is_special(tmp_path / name) for name in ("stream", "plain", "loop", "folder", "none")]
    assert found == [False] * 5


@posix_only
def test_what_a_killed_process_leaves_goes_with_the_next_write(tmp_path):
    path = tmp_path / "song.mid"
    with stopped_writer(path) as process:
        (leftover,) = names(tmp_path)
        assert leftover.startswith(".amt-")
        assert leftover.endswith(".tmp")
        remove_stale_temporaries(path)  # the writer lives: its file is its own
        write_atomically(path, b"ours")
        assert names(tmp_path) == [leftover, "song.mid"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert path.read_bytes() == b"ours"
    write_atomically(tmp_path / "other.mid", b"data")
    assert names(tmp_path) == [leftover, "other.mid", "song.mid"]
    write_atomically(path, b"again")
    assert names(tmp_path) == ["other.mid", "song.mid"]


@posix_only
def test_whose_temporary_files_are_stale(tmp_path, monkeypatch):
    path = tmp_path / "song.mid"
    prefix, machine = files._temporary_prefix(path), files._machine_token()
    day_old = tmp_path / f"{prefix}{'0' * 8}-77-12345678-0.tmp"
    fresh = tmp_path / f"{prefix}{'1' * 8}-77-12345678-0.tmp"
    reborn = tmp_path / f"{prefix}{machine}-{os.getpid()}-{'x' * 8}-0.tmp"
    own = tmp_path / f"{prefix}{machine}-{os.getpid()}-{files._PROCESS_TOKEN}-999.tmp"
    foreign = tmp_path / f"{prefix}notes.txt"
    for file in (day_old, fresh, reborn, own, foreign):
        file.touch()
    yesterday = time.time() - 90_000
    os.utime(day_old, (yesterday, yesterday))
    remove_stale_temporaries(path)
    assert names(tmp_path) == sorted(file.name for file in (fresh, own, foreign))
    remove_stale_temporaries(tmp_path / "missing" / "song.mid")


def test_a_folder_that_cannot_be_looked_into_is_no_empty_one(tmp_path, monkeypatch):
    for name in ("a", "b/c", "locked/d"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert sorted(path.relative_to(tmp_path).as_posix() for path in all_files_below(tmp_path)) == [
        "a", "b/c", "locked/d"
    ]  # fmt: skip
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AmtError, match="locked cannot be looked into: Permission denied"):
        list(all_files_below(tmp_path))
