"""``amt transcribe --live``: audio in as it is played, a line of JSON out for each event."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack, closing
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from amtcli.cli.progress import NORMAL, QUIET, Screen
from amtcli.cli.streams import check_stdin, check_stdout, write_stdout
from amtcli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from amtcli.audio.pipe import LiveSource
    from amtcli.decoders.note_states import NoteOn
    from amtcli.live import LiveTranscriber
    from amtcli.live_networks.live_network import LiveEvent

_ONLY_LIVE = ("raw_rate", "raw_format", "microphone")
_FLAGS = {"formats": "format"}  # those that are not called as their parameters
_ALSO_LIVE = ("inputs", "live", "model", "offline", "quiet", "stdin_name", *_ONLY_LIVE)


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What to listen to, and with which model, "" for the one that ships for it.

    ``raw_rate_hz`` None stands for wav on standard input; ``raw_format`` is one of
    ``amtcli.audio.pipe.RAW_FORMATS``.
    """

    inputs: list[str]
    model: str
    offline: bool
    raw_rate_hz: int | None
    raw_format: str
    microphone: bool
    stdin_name: str
    quiet: bool


def check_flags(given: set[str], *, live: bool) -> None:
    """Refuse options that mean nothing with, or without, ``--live``."""
    meaningless = given - set(_ALSO_LIVE) if live else given & set(_ONLY_LIVE)
    if meaningless:
        name = min(meaningless)
        flag = f"--{_FLAGS.get(name, name.replace('_', '-'))}"
        raise UsageError(f"{flag} goes with no --live" if live else f"{flag} needs --live")
    if "raw_format" in given and "raw_rate" not in given:
        raise UsageError("--raw-format needs --raw-rate: without it, standard input is wav")


def transcribe_live(options: LiveOptions) -> None:
    """Listen until the audio ends, or until Ctrl-C, and write each event as soon as it is known.

    Raises KeyboardInterrupt after Ctrl-C, once all notes have been ended.
    """
    _check_sources(options)
    check_stdout()
    screen = Screen(QUIET if options.quiet else NORMAL, 1, writes_stdout=True)
    with screen:
        transcriber = _load(options, screen)
    with ExitStack() as stack:
        source = _open_source(options, stack)
        listening = stack.enter_context(_UntilInterrupted(source))
        resampled = source.rate_hz != transcriber.sample_rate_hz
        screen.say(
            f"amt: listening at {source.rate_hz} Hz; notes come "
            f"{transcriber.latency_s * 1000:.0f} ms after they begin, and what "
            f"{'resampling (up to 40 ms) and ' if resampled else ''}computing takes"
        )
        n_notes = _run(transcriber, listening)
        n_overflows = getattr(source, "n_overflows", 0)
        if n_overflows:
            screen.say(f"amt: samples were lost {n_overflows} times: this machine is too slow")
        missing_s = 0.0 if listening.is_interrupted else getattr(source, "missing_s", 0.0)
        if missing_s:
            screen.say(f"amt: the stream ended {missing_s:.2f} s before its header says")
        screen.say(f"{n_notes} notes")
    if listening.is_interrupted:
        raise KeyboardInterrupt


def _check_sources(options: LiveOptions) -> None:
    if options.microphone:
        if options.inputs or options.raw_rate_hz is not None:
            raise UsageError("--microphone takes no INPUT and no --raw-rate")
        return
    if options.inputs != ["-"]:
        raise UsageError("--live listens to standard input (amt transcribe - --live)")
    check_stdin()


def _load(options: LiveOptions, screen: Screen) -> LiveTranscriber:
    screen.status("loading model")
    import torch

    from amtcli.catalog import LIVE_MODEL, locate, resolve
    from amtcli.live import LiveTranscriber, check_live
    from amtcli.model_config import read_config
    from amtcli.model_folder import load_model, outline_model

    name = options.model or LIVE_MODEL
    here = locate(name)
    check_live(outline_model(read_config(here), here))  # before anything is pulled
    folder = resolve(name, offline=options.offline, on_progress=screen.download)
    # Steps of a few milliseconds: a second thread costs more than it gives, and a busy machine
    # makes each of them wait for it.
    torch.set_num_threads(1)
    return LiveTranscriber(load_model(folder))


def _open_source(options: LiveOptions, stack: ExitStack) -> LiveSource:
    from amtcli.audio.pipe import RAW_FORMATS, PipeSource, open_wav

    if options.microphone:
        from amtcli.audio.microphone import Microphone

        return stack.enter_context(closing(Microphone()))
    if options.raw_rate_hz is None:
        return open_wav(sys.stdin.buffer, options.stdin_name)
    return PipeSource(sys.stdin.buffer, options.raw_rate_hz, RAW_FORMATS[options.raw_format])


def _run(transcriber: LiveTranscriber, source: LiveSource) -> int:
    """Transcribe to the end and return how many notes there were."""
    from amtcli.audio.pipe import live_blocks

    n_notes = 0
    for block in live_blocks(source, transcriber.sample_rate_hz, transcriber.hop_samples):
        n_notes += _write(transcriber.feed(block))
    return n_notes + _write(transcriber.close())


def _write(events: list[LiveEvent]) -> int:
    """Write events, a line each, and return how many notes have ended."""
    from amtcli.notes import Note

    if events:
        write_stdout(b"".join(_line(event) for event in events))
    return sum(isinstance(event, Note) for event in events)


def _line(event: LiveEvent) -> bytes:
    from amtcli.formats import FormatOptions, formatted
    from amtcli.notes import Note, PedalSpan, Performance

    if isinstance(event, Note):
        return formatted(Performance(notes=(event,)), "jsonl", FormatOptions())
    if isinstance(event, PedalSpan):
        return formatted(Performance(pedals=(event,)), "jsonl", FormatOptions())
    return _note_on_line(event)


def _note_on_line(begun: NoteOn) -> bytes:
    record = {
        "type": "note_on",
        "onset_s": round(begun.onset_s, 6),
        "pitch": begun.pitch,
        "velocity": begun.velocity,
        "confidence": begun.confidence,
    }
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


class _UntilInterrupted:
    """A source that ends at Ctrl-C, which so comes between two steps and never within one.

    A second Ctrl-C comes at once, wherever it is.
    """

    def __init__(self, source: LiveSource) -> None:
        self.rate_hz = source.rate_hz
        self.is_interrupted = False
        self._source = source
        self._is_reading = False

    def __enter__(self) -> _UntilInterrupted:
        self._handler_before: Any = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._handler_before)

    def read(self, n_samples: int) -> NDArray[np.float32]:
        """Wait for samples of the source; none any more once there was a Ctrl-C."""
        import numpy as np

        try:
            self._is_reading = True
            if not self.is_interrupted:
                return self._source.read(n_samples)
        except KeyboardInterrupt:
            pass
        finally:
            self._is_reading = False
        return np.zeros((0, 1), np.float32)

    def _interrupt(self, _: int, __: FrameType | None) -> None:
        is_second, self.is_interrupted = self.is_interrupted, True
        if is_second or self._is_reading:
            raise KeyboardInterrupt
