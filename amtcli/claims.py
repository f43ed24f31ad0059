"""Claims on outputs, so that several processes can share one folder.

A claim is a lock that the operating system holds for a process and drops with it, so a killed
process leaves no claim behind. The locked files live in the user's state folder, not beside
the outputs, and there are at most `_N_LOCKS` of them, for ever: an output's path chooses its
lock. Two outputs may share a lock; that only makes one wait for the other. Processes of other
users or other machines are not seen.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_state_path

_N_LOCKS = 4096
_POLL_S = 0.2


class Claims:
    """The claims of this process. All methods may be called from any thread."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or user_state_path("amt", appauthor=False) / "claims"
        self._held: dict[str, FileLock] = {}
        self._mutex = threading.Lock()

    def take(self, paths: Iterable[Path], *, wait: bool = False) -> bool:
        """Claim all of ``paths`` or none; False when another process, or we, hold one.

        With ``wait`` it waits until they are free; only a caller that holds no other claim may.
        Where the state folder cannot be written nothing can be claimed, and all is granted.
        """
        taken: list[str] = []
        for name in sorted({_lock_name(path) for path in paths}):
            if not self._take_lock(name, wait):
                self._drop(taken)
                return False
            taken.append(name)
        return True

    def release(self, paths: Iterable[Path]) -> None:
        """Give the claims on ``paths`` back; those not held are passed over."""
        self._drop({_lock_name(path) for path in paths})

    def release_all(self) -> None:
        """Give every claim back."""
        self._drop(list(self._held))

    def _take_lock(self, name: str, wait: bool) -> bool:
        with self._mutex:
            if name in self._held:
                return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / f"{name}.lock", thread_local=False)
            lock.acquire(timeout=-1 if wait else 0, poll_interval=_POLL_S)
        except Timeout:
            return False
        except OSError:  # no place for locks: work goes on without claims
            return True
        with self._mutex:
            self._held[name] = lock
        return True

    def _drop(self, names: Iterable[str]) -> None:
        with self._mutex:
            locks = [self._held.pop(name) for name in names if name in self._held]
        for lock in locks:
            lock.release()


def _lock_name(path: Path) -> str:
    resolved = os.path.normcase(path.parent.resolve() / path.name)
    digest = hashlib.sha256(os.fsencode(resolved)).digest()
    return f"{int.from_bytes(digest[:8], 'big') % _N_LOCKS:04d}"
