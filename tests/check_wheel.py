"""Build the wheel, install it into an empty environment, and use it outside the checkout.

The first run is what is checked: no connection, no data folder, an mp3 to notes.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SHIPPED_FILES = {
    "swift": (
        *("model.toml", "weights.safetensors", "README.md"),
        *("first.toml", "second.toml", "third.toml", "fourth.toml", "fifth.toml", "sixth.toml"),
        *("seventh.toml", "recipe.toml"),
    ),
    "swift-live": ("model.toml", "weights.safetensors", "README.md", "recipe.toml"),
    "metre": (
        *("model.toml", "weights.safetensors", "README.md", "recipe.toml"),
        "test_compositions.txt",
    ),
    "velocity-swift": ("model.toml", "weights.safetensors", "README.md", "recipe.toml"),
}
FEWEST_NOTES = 250  # the demo recording has 327

# Run in the new environment, whose libsndfile may be too old to write mp3.
TO_MP3 = """
import sys, soundfile
samples, rate_hz = soundfile.read(sys.argv[1])
name = "song.mp3" if "MP3" in soundfile.available_formats() else "song.wav"
soundfile.write(name, samples, rate_hz)
print(name)
"""


def run(*command, cwd):
    print("+", *map(str, command), flush=True)
    # Nothing of this machine's models, and no way to any other.
    surroundings = os.environ | {"AMT_OFFLINE": "1", "AMT_MODEL_DIR": str(cwd / "no-models")}
    done = subprocess.run(
        command, cwd=cwd, env=surroundings, check=True, text=True, stdout=subprocess.PIPE
    )
    return done.stdout


def check(folder):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", folder, ".", cwd=PROJECT)
    (wheel,) = folder.glob("*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    scripts = environment / ("Scripts" if os.name == "nt" else "bin")
    constraints = PROJECT / "constraints.txt"
    run(scripts / "python", "-m", "pip", "install", "-q", "-c", constraints, wheel, cwd=folder)
    run(scripts / "amt", "--help", cwd=folder)
    listed = json.loads(run(scripts / "amt", "models", "list", "--json", cwd=folder))
    print("models in the wheel:", *(entry["name"] for entry in listed))
    check_files(wheel)
    check_first_run(scripts, folder)


def check_files(wheel):
    """The models that ship are in the wheel, whole."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    wanted = {f"amtcli/models/{m}/{name}" for m, files in SHIPPED_FILES.items() for name in files}
    missing = wanted - names
    assert not missing, f"the wheel lacks {sorted(missing)}"


def check_first_run(scripts, folder):
    """A recording becomes a MIDI file and lines of JSON, with nothing pulled."""
    demo = PROJECT / "tests" / "data" / "demo.flac"
    song = run(scripts / "python", "-c", TO_MP3, demo, cwd=folder).strip()
    run(scripts / "amt", "transcribe", song, cwd=folder)
    assert (folder / "song.mid").read_bytes().startswith(b"MThd")
    lines = run(scripts / "amt", "transcribe", song, "-o", "-", "--format", "jsonl", cwd=folder)
    kinds = [json.loads(line)["type"] for line in lines.splitlines()]
    print(f"{kinds.count('note')} notes and {kinds.count('pedal')} pedal spans from {song}")
    assert kinds.count("note") >= FEWEST_NOTES
    assert not (folder / "no-models").exists()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        check(Path(name))
