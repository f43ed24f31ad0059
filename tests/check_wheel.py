"""Build the wheel, install it into an empty environment, and use it outside the checkout."""

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def run(*command, cwd):
    print("+", *map(str, command), flush=True)
    return subprocess.run(command, cwd=cwd, check=True, text=True, stdout=subprocess.PIPE).stdout


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
    audio = PROJECT / "tests" / "data" / "demo.flac"
    notes = run(scripts / "amt", "transcribe", audio, "-o", "-", "--format", "jsonl", cwd=folder)
    print(f"{len(notes.splitlines())} notes and pedal spans from {audio.name}")
    assert len(notes.splitlines()) > 300, "the demo recording has 327 notes"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        check(Path(name))
