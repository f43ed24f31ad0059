"""Claims on outputs, so that several processes can share one folder.

A claim is a lock that the operating system holds for a process and drops with it, so a killed
process leaves no claim behind. The locked files live in the user's state folder, not beside
the outputs, and there are at most `_N_LOCKS` of them, for ever: an output's path chooses its
lock. Two outputs may share a lock; that only makes other processes wait for both. Processes of
other users or other machines are not seen.
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
        self._held: dict[str, tuple[FileLock, set[str]]] = {}  # with the paths that it stands for
        self._mutex = threading.Lock()

    def take(self, paths: Iterable[Path], *, wait: bool = False) -> bool:
        """Claim all of ``paths`` or none; False when another process, or we, hold one.

        With ``wait`` it waits until they are free; only a caller that holds no other claim may.
        Where the state folder cannot be written nothing can be claimed, and all is granted.
        """
        taken: list[str] = []
        # In the order of their locks: two that wait could otherwise wait for each other.
        for path in sorted({_resolved(path) for path in paths}, key=_lock_name):
            if not self._take_path(path, wait):
                self._drop(taken)
                return False
            taken.append(path)
        return True

    def release(self, paths: Iterable[Path]) -> None:
        """Give the claims on ``paths`` back; those not held are passed over."""
        self._drop({_resolved(path) for path in paths})

    def release_all(self) -> None:
        """Give every claim back."""
        self._drop([path for _, paths in self._held.values() for path in paths])

    def _take_path(self, path: str, wait: bool) -> bool:
        name = _lock_name(path)
        with self._mutex:
            if name in self._held:  # by this path, or by another that shares its lock
                paths = self._held[name][1]
                is_new = path not in paths
                paths.add(path)
                return is_new
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._folder / f"{name}.lock", thread_local=False)
            lock.acquire(timeout=-1 if wait else 0, poll_interval=_POLL_S)
        except Timeout:
            return False
        except OSError:  # no place for locks: work goes on without claims
            return True
        with self._mutex:
            self._held[name] = lock, {path}
        return True

    def _drop(self, paths: Iterable[str]) -> None:
        free = []
        with self._mutex:
            for path in paths:
                name = _lock_name(path)
                lock, held = self._held.get(name, (None, set()))
                held.discard(path)
                if lock is not None and not held:
                    del self._held[name]
                    free.append(lock)
        for lock in free:
            lock.release()


def _resolved(path: Path) -> str:
    return os.path.normcase(path.parent.resolve() / path.name)


def _lock_name(path: str) -> str:
    digest = hashlib.sha256(os.fsencode(path)).digest()
    return f"{int.from_bytes(digest[:8], 'big') % _N_LOCKS:04d}"
