"""Files: whether they are there, and how they appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import platform
import re
import shutil
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from amtcli.errors import AmtError

_HINTS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EACCES: "choose another folder",
    errno.EPERM: "choose another folder",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EEXIST: "a part of this path is a file",
    errno.ENOTDIR: "a part of this path is a file",
    errno.EISDIR: "choose another name",
}

# A process number alone names no process: another machine may share the folder, and a container
# that is started again gives the same number out again.
_PROCESS_TOKEN = uuid.uuid4().hex[:8]
_SERIAL_NUMBERS = itertools.count()
_TEMPORARY_NAME = re.compile(r"\.amt-\w{16}-(\w{8})-(\d+)-(\w{8})-\d+\.tmp")
_FOREIGN_STALE_S = 86_400.0
# Where the system lists what a process has open, links resolved.
_OPEN_FILES = re.compile(r"/dev/fd|/proc/\d+(/task/\d+)?/fd")
_MOST_LINKS = 40  # as many as Linux follows


def exists(path: Path) -> bool:
    """Whether there is anything at ``path``; False for names that the system does not even take."""
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for such


def is_folder(path: Path) -> bool:
    """Whether ``path`` is a folder; False for names that the system does not even take."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for such


def is_special(path: Path) -> bool:
    """Whether ``path`` is written into, never replaced: a device, a pipe, a socket, an open file.

    An open file is what ``/dev/stdout`` leads to while standard output goes to a file.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode):
        return _open_file(path) is not None
    return not stat.S_ISDIR(mode)


def open_in_place(name: str, flags: int) -> int:
    """Open what is special: an opener for `open`.

    By its name Linux opens a file that we have open already anew: emptied, and at its beginning,
    so that messages and results would be written over one another.
    """
    entry = _open_file(Path(name))
    if entry is not None and entry.parent == Path(f"/proc/{os.getpid()}/fd"):
        return os.dup(int(entry.name))
    return os.open(name, flags, 0o666)


def all_files_below(folder: Path) -> Iterator[Path]:
    """List the files of a folder and of those in it, in no order; links to folders lead nowhere.

    Raises AmtError where a folder cannot be looked into: what is in it would be missed in silence.
    """

    def refuse(error: OSError) -> None:
        where = os.fsdecode(error.filename)
        raise AmtError(f"{where} cannot be looked into: {error.strerror or error}") from error

    for top, _, names in os.walk(folder, onerror=refuse):
        for name in names:
            if os.path.isfile(os.path.join(top, name)):  # noqa: PTH113, PTH118 - as above
                yield Path(top, name)


def encoded(text: str) -> bytes:
    """Encode as UTF-8; what a file's name holds that is no text is escaped."""
    return text.encode("utf-8", "backslashreplace")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, lower-case hex. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, creating its folder; the file appears whole or not at all.

    The bytes go to a hidden file in the same folder, reach the disk, and then take the name
    ``path`` in one step, replacing what had it. After a failure or an interruption ``path`` is
    what it was before, and the hidden file is gone. What a killed process leaves is hidden,
    ends in ``.tmp``, and is removed by the next write to the same path. What is special is
    written to directly.

    Raises
    ------
    AmtError
        The system refused: no space, no permission, a name too long, and so on.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_special(path):  # a file in place of /dev/null would harm the whole machine
            with open(path, "wb", opener=open_in_place) as file:
                file.write(data)
        else:
            remove_stale_temporaries(path)
            _write_and_replace(path, data)
    except OSError as error:
        reason = error.strerror or str(error)
        hint = _HINTS.get(error.errno or 0, "choose another place")
        raise AmtError(f"{path} cannot be written: {reason}; {hint}") from error


def temporary_beside(path: Path) -> Path:
    """Return a hidden name, new each time, for what shall take the name ``path`` in one step."""
    name = f"{_machine_token()}-{os.getpid()}-{_PROCESS_TOKEN}-{next(_SERIAL_NUMBERS)}.tmp"
    return path.with_name(_temporary_prefix(path) + name)


def remove_stale_temporaries(path: Path) -> None:
    """Remove the hidden files and folders that killed processes left while they wrote ``path``.

    Those of living processes stay, and so do those of other machines until they are a day old.
    """
    prefix = _temporary_prefix(path)
    # Nobody should lose an output because an old file cannot be looked at or removed.
    with contextlib.suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if not (entry.name.startswith(prefix) and _is_stale(Path(entry.path))):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                Path(entry.path).unlink()


def _open_file(path: Path) -> Path | None:
    """Follow links to an entry of a list of open files, as ``/proc/77/fd/1``; None: to no such."""
    for _ in range(_MOST_LINKS):
        folder = os.path.realpath(path.parent)
        if _OPEN_FILES.fullmatch(folder):
            return Path(folder, path.name)
        try:
            path = Path(folder, path.readlink())
        except OSError:
            return None
    return None


def _write_and_replace(path: Path, data: bytes) -> None:
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:  # an interruption, too, leaves nothing behind
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _temporary_prefix(path: Path) -> str:
    # A digest fits into any file system's limit, however long the name that it stands for.
    return f".amt-{_digest(os.fsencode(path.name), 16)}-"


def _machine_token() -> str:
    return _digest(platform.node().encode("utf-8", "surrogateescape"), 8)


def _digest(data: bytes, n_characters: int) -> str:
    return hashlib.sha256(data).hexdigest()[:n_characters]


def _is_stale(temporary: Path) -> bool:
    parts = _TEMPORARY_NAME.fullmatch(temporary.name)
    if parts is None:
        return False
    machine, pid, process_token = parts.groups()
    if machine != _machine_token():
        return time.time() - temporary.stat().st_mtime > _FOREIGN_STALE_S
    if int(pid) == os.getpid():
        return process_token != _PROCESS_TOKEN
    return not _is_running(int(pid))


def _is_running(pid: int) -> bool:
    if sys.platform == "win32":
        return False  # os.kill would end the process; an open file cannot be removed there anyway
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def read_at(file: BinaryIO, at: int, n_bytes: int) -> bytes:
    """Read up to ``n_bytes`` at a place; a bad sector reads like the end of the file."""
    try:
        file.seek(at)
        return file.read(n_bytes)
    except OSError:
        return b""
