"""Sound from MIDI by the program FluidSynth and SoundFonts.

The program rather than its library: a crash or a leak stays in a process of its own, no binding
has to fit the installed version, and loading a SoundFont costs little beside rendering minutes.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import mido
import numpy as np
from numpy.typing import NDArray

from amtcli.audio import open_audio
from amtcli.errors import DataError, UsageError
from amtcli.midi import performance_to_midi_bytes
from amtcli.notes import Note, Performance

# At 16 kHz the synthesiser would fold the treble of its samples back into the music; it has no
# filter for that, and the resampler has.
_SYNTHESIS_RATE_HZ = 44_100
_MOST_VOICES = 1024  # with the pedal down a piano has more strings sounding than the usual 256
_BEND_RANGE_CENTS = 200.0
_BEND_STEPS = 8192

_PROBE_PITCHES = range(24, 109, 6)
_PROBE_STEP_S = 1.5
_PROBE_LENGTH_S = 0.5
_SUBSTITUTED = "Instrument not found on channel 0 "

_AUDIBLE = 0.01  # of the note's loudest sample


@dataclass(frozen=True)
class Instrument:
    """A program (0-127) of a SoundFont, and how late it sounds; made by `open_instrument`."""

    soundfont: Path
    program: int
    sha256: str
    latency_s: float

    @property
    def name(self) -> str:
        """The SoundFont's name and the program."""
        return f"{self.soundfont.stem}:{self.program}"


def open_instrument(soundfont: Path, program: int) -> Instrument:
    """Try a SoundFont and measure how long after its onset a note is heard.

    The latency is the median over the keyboard of the time to a hundredth of a note's peak.

    Raises
    ------
    UsageError
        FluidSynth is not installed.
    DataError
        The file is no SoundFont, or its program makes no sound.
    """
    notes = tuple(
        Note(_PROBE_STEP_S * i, _PROBE_STEP_S * i + _PROBE_LENGTH_S, pitch, 80)
        for i, pitch in enumerate(_PROBE_PITCHES, start=1)
    )
    instrument = Instrument(soundfont, program, _sha256(soundfont), 0.0)
    audio = synthesise(playable_midi(Performance(notes), program), instrument, _SYNTHESIS_RATE_HZ)
    delays_s = [_audible_after_s(audio, note) for note in notes]
    heard_s = [delay_s for delay_s in delays_s if delay_s is not None]
    if len(heard_s) < len(notes) / 2:
        raise DataError(f"program {program} of {soundfont} makes no sound; choose another one")
    return Instrument(soundfont, program, instrument.sha256, float(np.median(heard_s)))


def playable_midi(performance: Performance, program: int, detune_cents: float = 0.0) -> bytes:
    """Return a MIDI file that plays on ``program``, with pedal, all of it out of tune alike.

    ``detune_cents`` lies within -200 and 200.
    """
    midi = mido.MidiFile(file=io.BytesIO(performance_to_midi_bytes(performance)))
    bend = round(detune_cents / _BEND_RANGE_CENTS * _BEND_STEPS)
    for track in midi.tracks:
        for index, message in enumerate(track):
            if message.type == "program_change":
                message.program = program
                track.insert(index + 1, mido.Message("pitchwheel", pitch=bend))
                break
    file = io.BytesIO()
    midi.save(file=file)
    return file.getvalue()


def synthesise(midi: bytes, instrument: Instrument, sample_rate_hz: int) -> NDArray[np.float32]:
    """Play a MIDI file without reverberation; mono (n,), the instrument's latency taken out.

    Raises UsageError without FluidSynth, DataError when it fails.
    """
    program = shutil.which("fluidsynth")
    if program is None:
        raise UsageError(
            "rendering needs the program fluidsynth; install it (apt install fluidsynth, "
            "brew install fluid-synth)"
        )
    with tempfile.TemporaryDirectory(prefix="amt-render-") as folder:
        score, sound = Path(folder) / "score.mid", Path(folder) / "sound.wav"
        score.write_bytes(midi)
        command = [program, *_options(sound), str(instrument.soundfont), str(score)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        # FluidSynth ends with 0 in these cases, too, and plays on what it has.
        if _SUBSTITUTED in done.stderr:
            raise DataError(
                f"{instrument.soundfont} has no program {instrument.program}; choose another one"
            )
        if done.returncode or "error" in done.stderr or not sound.exists():
            reason = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr)
            raise DataError(f"fluidsynth cannot play {instrument.soundfont}: {reason.strip()}")
        with open_audio(sound, sample_rate_hz, mono=True) as stream:
            audio = np.concatenate([np.reshape(block, -1) for block in stream])
    return audio[round(instrument.latency_s * sample_rate_hz) :]


@lru_cache(maxsize=1)
def synthesiser_version() -> str:
    """Return FluidSynth's version, "" where it is not installed."""
    program = shutil.which("fluidsynth")
    if program is None:
        return ""
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    return next(iter(done.stdout.splitlines()), "").strip()


def _options(sound: Path) -> list[str]:
    settings = {
        "synth.reverb.active": 0,
        "synth.chorus.active": 0,
        "synth.gain": 0.5,
        "synth.polyphony": _MOST_VOICES,
        "synth.dynamic-sample-loading": 1,
        "synth.lock-memory": 0,
        # Else it plays on with one of the system's when it cannot read the one that was given.
        "synth.default-soundfont": "",
        "synth.sample-rate": _SYNTHESIS_RATE_HZ,
        "audio.file.type": "wav",
        "audio.file.format": "float",
    }
    chosen = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    # No file of the user's own settings: the same command makes the same sound everywhere.
    return ["-ni", "-q", "-f", os.devnull, *chosen, "-F", str(sound)]


def _audible_after_s(audio: NDArray[np.float32], note: Note) -> float | None:
    start = round(note.onset_s * _SYNTHESIS_RATE_HZ)
    heard = np.abs(audio[start : start + round(_PROBE_LENGTH_S * _SYNTHESIS_RATE_HZ)])
    peak = np.max(heard, initial=0.0)
    if peak == 0.0:
        return None
    return float(np.argmax(heard > _AUDIBLE * peak)) / _SYNTHESIS_RATE_HZ


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest()
