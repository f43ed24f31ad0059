"""Every network: parameters, multiply-adds, speed and latency, as a Markdown table.

    python -m tests.benchmarks.networks [NAME ...] [--threads N ...] [--seconds S]

NAME begins like the names in the table, such as models/ or recipes/hpt; without one, all shipped
models and recipes are built, with random weights. Networks that hear velocities get the
recording's own notes as their score. Multiply-adds are those of
front-end, network and decoder for one second of audio, overlap of windows included. Times are
those of the same, in float32, one window after the other, on the project's own recording
(repeated to a minute), or as much of it as there is time for. Run it on an idle machine. Latency
is how long after its onset a note is known at the earliest, were computing instant: half an
analysis window and what the network looks ahead, less the shift of the labels, where that is all
it needs; else a note at a window's beginning waits for the window's end, as velocities do.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from amtcli.audio import open_audio
from amtcli.decoders.score_velocities import score_notes
from amtcli.live import latency_s
from amtcli.midi_reading import read_performance
from amtcli.networks.velocity.score import ScoreRolls, score_rolls
from amtcli.networks.velocity.velocity_network import VelocityNetwork
from tests.benchmarks.multiply_adds import count_multiply_adds
from tests.benchmarks.random_models import random_model, settings_files

DEMO = Path(__file__).parents[1] / "data" / "demo.flac"
AUDIO_S = 60.0


class Benchmark:
    """One network, window by window."""

    def __init__(self, model, samples):
        self.model = model
        self.window = model.config.window.spec(fast=False)
        self.hop_s = self.window.hop_samples / model.front_end.sample_rate_hz
        self.samples = samples
        self.score = None
        if isinstance(model.network, VelocityNetwork):
            self.score = score_notes(read_performance(DEMO.with_suffix(".mid")))
            self.decoder = model.new_velocity_decoder(self.window, self.score)
        else:
            self.decoder = model.new_decoder(self.window)
        with torch.inference_mode():
            model.network.prepare("float32")

    def compute(self, index):
        """Take window ``index``, from front-end to decoder; behind its end the audio repeats."""
        start = index * self.window.hop_samples % self.samples.shape[1]
        repeated = np.arange(start, start + self.window.length_samples)
        samples = torch.from_numpy(self.samples.take(repeated, axis=1, mode="wrap"))
        features = self.model.front_end([samples])
        given = [] if self.score is None else [self.rolls(start)]
        self.decoder.feed(self.model.network.activations(features, *given)[0])

    def rolls(self, start):
        """Make the rolls of the score in the window that begins with sample ``start``."""
        rate_hz = self.model.front_end.sample_rate_hz
        hop_samples = self.model.config.decoder["hop_samples"]
        heard = self.score.within(start / rate_hz, self.window.length_samples / rate_hz)
        n_frames = self.window.length_samples // hop_samples + 1
        rolls = score_rolls(heard, n_frames, hop_samples / rate_hz)
        return ScoreRolls(*(torch.from_numpy(rolls[name][None]) for name in ScoreRolls._fields))

    def multiply_adds_per_s(self):
        return count_multiply_adds(lambda: self.compute(0)) / self.hop_s

    def times_real_time(self, n_threads, longest_s):
        """Run until the minute, or the time for it, is over; at least one window."""
        torch.set_num_threads(n_threads)
        start, n_done = time.perf_counter(), 0
        with torch.inference_mode():
            while n_done * self.hop_s < AUDIO_S and time.perf_counter() - start < longest_s:
                self.compute(n_done)
                n_done += 1
        return n_done * self.hop_s / (time.perf_counter() - start)


def demo(rate_hz, mono):
    with open_audio(DEMO, rate_hz, mono=mono) as stream:
        return np.concatenate(list(stream), axis=1)


def latency(model):
    """The formula's, or the window that must be over."""
    live_s = None if isinstance(model.network, VelocityNetwork) else latency_s(model)
    if live_s is not None:
        return f"{live_s * 1e3:.0f} ms"
    return f"{model.config.window.length_samples / model.front_end.sample_rate_hz:.2f} s (window)"


def row(name, path, options):
    model = random_model(path)
    samples = demo(model.front_end.sample_rate_hz, model.front_end.mono)
    benchmark = Benchmark(model, samples)
    parts = (model.front_end, model.network)
    n_parameters = sum(p.numel() for part in parts for p in part.parameters())
    work = benchmark.multiply_adds_per_s()
    speeds = [benchmark.times_real_time(n, options.seconds) for n in options.threads]
    cells = [name, f"{n_parameters:,}", f"{work / 1e9:.2f} G", *(f"{x:.1f}" for x in speeds)]
    return [*cells, latency(model)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", default=[""])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=4.0, help="of computing for each number")
    options = parser.parse_args()
    units = [f"times real time, {n} thread{'s' * (n > 1)}" for n in options.threads]
    head = ["settings", "parameters", "multiply-adds per second", *units, "latency"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, path in settings_files().items():
        if name.startswith(tuple(options.names)):
            print(f"| {' | '.join(row(name, path, options))} |", flush=True)


if __name__ == "__main__":
    main()
