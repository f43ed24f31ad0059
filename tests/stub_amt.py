"""`amt` with an engine that computes nothing, for tests of everything around the engine.

As a program (`python stub_amt.py transcribe ...`) it is a real process to be killed, piped and
run twice; the environment says how long a recording takes and where to note that one began. A
recording from standard input is read by a daemon thread, as the engine reads.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from amtcli.errors import AudioError
from amtcli.notes import Note, PedalSpan, Performance

PERFORMANCE = Performance(
    notes=(Note(0.5, 1.0, 60, 64), Note(1.0, 1.5, 64, 80, confidence=0.75)),
    pedals=(PedalSpan(0.4, 1.6, 64),),
)
PROVENANCE = SimpleNamespace(name="stub", version="1.0")
AUDIO_S = 2.0


class StubEngine:
    """Gives `PERFORMANCE` for every recording but those whose name holds "bad"."""

    device = "cpu"
    precision = "float32"
    description = "cpu (stub), float32"

    def __init__(self, delay_s: float = 0.0, log: Path | None = None) -> None:
        self.delay_s = delay_s
        self.log = log
        self.keys: list[str] = []

    def transcribe(self, recordings: Iterable[Any], on_progress: Any = None) -> Iterator[Any]:
        for recording in recordings:
            self.keys.append(recording.key)
            if self.log is not None:
                with self.log.open("a") as log:
                    log.write(recording.key + "\n")
            if on_progress:
                on_progress(SimpleNamespace(recording=recording, done_s=1.0, total_s=AUDIO_S))
            if not isinstance(recording.source, Path):
                reader = threading.Thread(target=recording.source.read, daemon=True)
                reader.start()
                while reader.is_alive():
                    time.sleep(0.01)
            time.sleep(self.delay_s)
            yield self._result(recording)

    def _result(self, recording: Any) -> Any:
        bad = "bad" in recording.key
        return SimpleNamespace(
            recording=recording,
            performance=None if bad else PERFORMANCE,
            error=AudioError(f"{recording.key}: not audio") if bad else None,
            warnings=("the last 3.2 s could not be read",) if "cut" in recording.key else (),
            timings=SimpleNamespace(
                audio_s=AUDIO_S, read_s=0.1, compute_s=0.2, decode_s=0.05, elapsed_s=0.5
            ),
        )


def main() -> None:
    import amtcli.cli
    from amtcli.cli import transcribe

    log = os.environ.get("STUB_LOG")
    engine = StubEngine(float(os.environ.get("STUB_DELAY_S", "0")), Path(log) if log else None)
    transcribe.open_engine = lambda choice, screen: (engine, PROVENANCE)
    amtcli.cli.main()


if __name__ == "__main__":
    main()
