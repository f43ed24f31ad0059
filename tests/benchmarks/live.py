"""Live transcription: computing time per hop, on one thread.

    python -m tests.benchmarks.live [NAME ...]

NAME begins like the names in the table, such as recipes/autoregressive; without one, all models
and recipes that can transcribe live are taken, with random weights. The project's own recording
is fed hop by hop, as a microphone gives it. A hop must take less than it
lasts; the goal is 12 ms for one of 32 ms and 5 ms for one of 25 ms. Run it on an idle machine.
"""

import sys
import time

import numpy as np
import torch

from amtcli.live import LiveTranscriber, latency_s
from tests.benchmarks.networks import demo
from tests.benchmarks.random_models import random_model, settings_files

WARM_UP_HOPS = 50


def hop_times_ms(model):
    """Feed the recording hop by hop; the first hops, which build kernels, are not counted."""
    transcriber = LiveTranscriber(model)
    samples = demo(transcriber.sample_rate_hz, mono=True)
    hop = transcriber.hop_samples
    times_ms = []
    for start in range(0, samples.shape[1] - hop, hop):
        begin = time.perf_counter()
        transcriber.feed(samples[:, start : start + hop])
        times_ms.append((time.perf_counter() - begin) * 1e3)
    return np.array(times_ms[WARM_UP_HOPS:])


def main():
    torch.set_num_threads(1)
    head = ["settings", "latency", "hop", "median", "99th percentile", "maximum"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for name, path in settings_files().items():
        model = random_model(path) if name.startswith(tuple(sys.argv[1:] or [""])) else None
        if model is None or latency_s(model) is None:
            continue
        times_ms = hop_times_ms(model)
        hop_ms = model.front_end.config.hop_samples / model.front_end.sample_rate_hz * 1e3
        cells = [name, f"{latency_s(model) * 1e3:.0f} ms", f"{hop_ms:.0f} ms"]
        cells += [f"{value:.1f} ms" for value in np.percentile(times_ms, [50, 99, 100])]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
