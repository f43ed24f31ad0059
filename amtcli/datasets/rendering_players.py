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
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from amtcli.audio import open_audio
from amtcli.errors import DataError, UsageError

_MOST_VOICES = 1024  # with the pedal down a piano has more strings sounding than the usual 256
_MOST_SFZ_VOICES = 256  # all that sfizz has
_SFZ_QUALITY = 2  # of its interpolation, 1 to 10, which takes twice as long
_SUBSTITUTED = "Instrument not found on channel 0 "
_SFIZZ_PACKAGE = "pysfizz"


def is_sfz(file: Path) -> bool:
    """Tell by the name whether sfizz plays it."""
    return file.suffix.lower() == ".sfz"


def play_soundfont(
    midi: bytes, soundfont: Path, program: int, synthesis_rate_hz: int, sample_rate_hz: int
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

    def command(score: Path, sound: Path) -> list[str]:
        options = _fluidsynth_options(sound, synthesis_rate_hz)
        return [player, *options, str(soundfont), str(score)]

    def problem(said: str) -> str | None:
        # FluidSynth ends with 0 in these cases, too, and plays on what it has.
        if _SUBSTITUTED in said:
            return f"{soundfont} has no program {program}; choose another one"
        if "error" not in said:
            return None
        reason = next(line for line in said.splitlines() if "error" in line)
        return f"fluidsynth cannot play {soundfont}: {reason.strip()}"

    return _play(midi, command, problem, f"fluidsynth cannot play {soundfont}", sample_rate_hz)


def play_sfz(
    midi: bytes, sfz: Path, synthesis_rate_hz: int, sample_rate_hz: int
) -> NDArray[np.float32]:
    """Play a MIDI file on an SFZ instrument; mono (n,) at ``sample_rate_hz``, from 16 bits.

    Raises UsageError without sfizz, DataError when it fails.
    """
    player = _sfizz()
    if player is None:
        raise UsageError(
            "rendering with SFZ needs the program sfizz_render; install sfizz, or what brings it "
            f"along: pip install {_SFIZZ_PACKAGE}"
        )

    def command(score: Path, sound: Path) -> list[str]:
        settings = {
            "--sfz": sfz.resolve(),
            "--midi": score,
            "--wav": sound,
            "--samplerate": synthesis_rate_hz,
            "--quality": _SFZ_QUALITY,
            "--polyphony": _MOST_SFZ_VOICES,
        }
        return [player, *(str(part) for setting in settings.items() for part in setting)]

    return _play(midi, command, lambda _: None, f"sfizz cannot play {sfz}", sample_rate_hz)


@lru_cache(maxsize=1)
def soundfont_player_version() -> str:
    """Return FluidSynth's version, "" where it is not installed."""
    player = shutil.which("fluidsynth")
    if player is None:
        return ""
    done = subprocess.run([player, "--version"], capture_output=True, text=True)
    return next(iter(done.stdout.splitlines()), "").strip()


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


def _play(
    midi: bytes,
    command: Callable[[Path, Path], list[str]],
    problem: Callable[[str], str | None],
    failed: str,
    sample_rate_hz: int,
) -> NDArray[np.float32]:
    """Run ``command`` on a MIDI file and a sound file, and read what it made.

    ``problem`` looks for one in what the program said.
    """
    with tempfile.TemporaryDirectory(prefix="amt-render-") as folder:
        score, sound = Path(folder) / "score.mid", Path(folder) / "sound.wav"
        score.write_bytes(midi)
        done = subprocess.run(
            command(score, sound), capture_output=True, text=True, errors="replace"
        )
        if found := problem(done.stderr):
            raise DataError(found)
        if done.returncode or not sound.exists():
            said = (done.stderr or done.stdout).strip().splitlines()
            raise DataError(f"{failed}: {said[0] if said else f'it ended with {done.returncode}'}")
        with open_audio(sound, sample_rate_hz, mono=True) as stream:
            return np.concatenate([np.reshape(block, -1) for block in stream])


def _fluidsynth_options(sound: Path, synthesis_rate_hz: int) -> list[str]:
    settings = {
        "synth.reverb.active": 0,
        "synth.chorus.active": 0,
        "synth.gain": 0.5,
        "synth.polyphony": _MOST_VOICES,
        "synth.dynamic-sample-loading": 1,
        "synth.lock-memory": 0,
        # Else it plays on with one of the system's when it cannot read the one that was given.
        "synth.default-soundfont": "",
        "synth.sample-rate": synthesis_rate_hz,
        "audio.file.type": "wav",
        "audio.file.format": "float",
    }
    chosen = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    # No file of the user's own settings: the same command makes the same sound everywhere.
    return ["-ni", "-q", "-f", os.devnull, *chosen, "-F", str(sound)]
