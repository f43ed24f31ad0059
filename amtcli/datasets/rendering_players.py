"""The programs that play: FluidSynth for SoundFonts, sfizz for SFZ instruments.

Programs rather than libraries: a crash or a leak stays in a process of its own, no binding has to
fit the installed version, and loading samples costs little beside rendering minutes.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amtcli.audio import open_audio
from amtcli.errors import DataError, UsageError

# At 16 kHz a player would fold the treble of its samples back into the music; none has a filter
# for that, and the resampler has.
SYNTHESIS_RATE_HZ = 44_100

_MOST_VOICES = 1024  # with the pedal down a piano has more strings sounding than the usual 256
_MOST_SFZ_VOICES = 256  # all that sfizz has
_SFZ_QUALITY = 2  # of its interpolation, 1 to 10, which takes twice as long
_SUBSTITUTED = "Instrument not found on channel 0 "
_SFIZZ_PACKAGE = "pysfizz"


def is_sfz(file: Path) -> bool:
    """Tell by the name whether sfizz plays it."""
    return file.suffix.lower() == ".sfz"


def play_soundfont(
    midi: bytes, soundfont: Path, program: int, sample_rate_hz: int
) -> NDArray[np.float32]:
    """Play a MIDI file on a program (0-127) of a SoundFont; mono (n,) at ``sample_rate_hz``.

    Raises UsageError without FluidSynth, DataError when it fails.
    """
    player = shutil.which("fluidsynth")
    if player is None:
        raise UsageError(
            "rendering needs the program fluidsynth; install it (apt install fluidsynth, "
            "brew install fluid-synth)"
        )
    with _files(midi) as (score, sound):
        done = _run([player, *_fluidsynth_options(sound), str(soundfont), str(score)])
        # FluidSynth ends with 0 in these cases, too, and plays on what it has.
        if _SUBSTITUTED in done.stderr:
            raise DataError(f"{soundfont} has no program {program}; choose another one")
        if done.returncode or "error" in done.stderr or not sound.exists():
            reason = next((x for x in done.stderr.splitlines() if "error" in x), done.stderr)
            raise DataError(f"fluidsynth cannot play {soundfont}: {reason.strip()}")
        return _read(sound, sample_rate_hz)


def play_sfz(midi: bytes, sfz: Path, sample_rate_hz: int) -> NDArray[np.float32]:
    """Play a MIDI file on an SFZ instrument; mono (n,) at ``sample_rate_hz``, from 16 bits.

    sfizz reads samples that are longer than 8192 frames while it plays, in a thread for which it
    does not wait long enough (``FilePool::waitForBackgroundLoading`` does not know what is still
    queued). So two runs are not quite alike, and beside busy programs long notes may break off.

    Raises UsageError without sfizz, DataError when it fails.
    """
    player = _sfizz()
    if player is None:
        raise UsageError(
            "rendering with SFZ needs the program sfizz_render; install sfizz, or what brings it "
            "along: pip install 'amtcli[sfz]'"
        )
    with _files(midi) as (score, sound):
        settings = {
            "--sfz": sfz.resolve(),
            "--midi": score,
            "--wav": sound,
            "--samplerate": SYNTHESIS_RATE_HZ,
            "--quality": _SFZ_QUALITY,
            "--polyphony": _MOST_SFZ_VOICES,
        }
        done = _run([player, *(str(part) for setting in settings.items() for part in setting)])
        if done.returncode or not sound.exists():
            said = (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
            raise DataError(f"sfizz cannot play {sfz}: {said.splitlines()[0]}")
        return _read(sound, sample_rate_hz)


@lru_cache(maxsize=1)
def soundfont_player_version() -> str:
    """Return FluidSynth's version, "" where it is not installed."""
    player = shutil.which("fluidsynth")
    if player is None:
        return ""
    return next(iter(_run([player, "--version"]).stdout.splitlines()), "").strip()


def sfizz_version() -> str:
    """Return what is known of sfizz's version: that of the package which brings it, if one does."""
    try:
        return f"sfizz of {_SFIZZ_PACKAGE} {version(_SFIZZ_PACKAGE)}"
    except PackageNotFoundError:
        return "sfizz"


def _sfizz() -> str | None:
    """Find the installed program, else the one in the Python package, which is on no path."""
    found = shutil.which("sfizz_render")
    package = importlib.util.find_spec(_SFIZZ_PACKAGE)
    if found is not None or package is None or package.origin is None:
        return found
    return shutil.which(Path(package.origin).parents[1] / "bin" / "sfizz_render")


@contextmanager
def _files(midi: bytes) -> Iterator[tuple[Path, Path]]:
    """Give a MIDI file and the name of a sound file, for as long as they are needed."""
    with tempfile.TemporaryDirectory(prefix="amt-render-") as folder:
        score = Path(folder) / "score.mid"
        score.write_bytes(midi)
        yield score, Path(folder) / "sound.wav"


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, errors="replace")


def _read(sound: Path, sample_rate_hz: int) -> NDArray[np.float32]:
    with open_audio(sound, sample_rate_hz, mono=True) as stream:
        return np.concatenate([np.reshape(block, -1) for block in stream])


def _fluidsynth_options(sound: Path) -> list[str]:
    settings = {
        "synth.reverb.active": 0,
        "synth.chorus.active": 0,
        "synth.gain": 0.5,
        "synth.polyphony": _MOST_VOICES,
        "synth.dynamic-sample-loading": 1,
        "synth.lock-memory": 0,
        # Else it plays on with one of the system's when it cannot read the one that was given.
        "synth.default-soundfont": "",
        "synth.sample-rate": SYNTHESIS_RATE_HZ,
        "audio.file.type": "wav",
        "audio.file.format": "float",
    }
    chosen = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    # No file of the user's own settings: the same command makes the same sound everywhere.
    return ["-ni", "-q", "-f", os.devnull, *chosen, "-F", str(sound)]
