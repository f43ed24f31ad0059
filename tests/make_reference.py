"""Transcribe a recording with the authors' own Transkun 2.0.1, for comparison in the tests.

Runs in an environment of its own, where ``transkun==2.0.1`` and ``soundfile`` are installed:

    python tests/make_reference.py tests/data/demo.flac tests/data/demo_transkun.csv

Writes one line per event: onset and offset in seconds, MIDI pitch (or minus the controller of
a pedal), velocity. Computed on the CPU in float32.
"""

import csv
import sys
from pathlib import Path

import moduleconf
import soundfile
import soxr
import torch
import transkun


def main(audio_path, csv_path):
    pretrained = Path(transkun.__file__).parent / "pretrained"
    settings = moduleconf.parseFromFile(str(pretrained / "2.0.conf"))["Model"]
    network = settings.module.TransKun(conf=settings.config).eval()
    checkpoint = torch.load(pretrained / "2.0.pt", map_location="cpu", weights_only=True)
    network.load_state_dict(checkpoint["state_dict"])
    audio, rate_hz = soundfile.read(audio_path, dtype="float32", always_2d=True)
    if rate_hz != network.fs:
        audio = soxr.resample(audio, rate_hz, network.fs)
    with torch.no_grad():
        events = network.transcribe(torch.from_numpy(audio))
    with Path(csv_path).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["onset_s", "offset_s", "pitch", "velocity"])
        for event in sorted(events, key=lambda e: (e.start, e.pitch)):
            writer.writerow([f"{event.start:.6f}", f"{event.end:.6f}", event.pitch, event.velocity])


if __name__ == "__main__":
    main(*sys.argv[1:])
