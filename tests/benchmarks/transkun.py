"""Transkun part by part, against what this machine's matrix product reaches in the same run.

    python -m tests.benchmarks.transkun [--precision bf16] [AUDIO]

One window of 16 s costs 371 GFLOP as published. The floor of a part is its share of them at the
rate of the fastest float32 product found here (MKL or oneDNN, at the encoder's own shapes); the
ratio says how far above it the part runs. Ratios compare, absolute times do not: run it on an
idle machine. The product is timed before and after, and the better of both counts.
"""

import argparse
import statistics
import time
from pathlib import Path

import soundfile
import torch
import torch.nn.functional as F

from amtcli.catalog import resolve
from amtcli.model_folder import load_model
from amtcli.networks.linear import linear

DEMO = Path(__file__).parents[1] / "data" / "demo.flac"
SHAPES = ((2384, 256, 1024), (2384, 1024, 256), (2384, 256, 256))
GFLOP = {"front-end": 5.5, "stem": 37.0, "encoder": 269.0, "scores and heads": 46.0, "places": 14.0}


def seconds(work, repeats=7):
    """Median time of ``work``, after one run that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def product_gflops(product):
    """Rate of a matrix product over the shapes that the encoder uses."""
    work = spent = 0.0
    for rows, n_in, n_out in SHAPES:
        x, weight = torch.randn(rows, n_in), torch.randn(n_out, n_in)
        work += 2e-9 * rows * n_in * n_out
        spent += seconds(lambda x=x, weight=weight: product(x, weight), repeats=15)
    return work / spent


def part_times(model, samples):
    network, front_end = model.network, model.front_end
    features = front_end([samples])
    coarse = network.encode(features)[0]
    stem_s = seconds(lambda: network.stem(features))
    return {
        "front-end": seconds(lambda: front_end([samples])),
        "stem": stem_s,
        "encoder": seconds(lambda: network.encode(features)) - stem_s,
        "scores and heads": seconds(lambda: network._intervals(coarse, features.shape[1])),
        "places": 0.0,  # embeddings of grid places are computed once per run, not per window
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("audio", nargs="?", default=DEMO)
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32")
    options = parser.parse_args()
    audio, rate_hz = soundfile.read(options.audio, dtype="float32", always_2d=True)
    samples = torch.from_numpy(audio.T[:, 8 * rate_hz : 8 * rate_hz + 705600].copy())
    samples = F.pad(samples, (0, 705600 - samples.shape[1]))
    with torch.inference_mode():
        model = load_model(resolve("transkun-v2"))
        model.network.prepare(options.precision)
        products = {"MKL": product_gflops(F.linear), "oneDNN": product_gflops(linear)}
        times = part_times(model, samples)
        for name, product in (("MKL", F.linear), ("oneDNN", linear)):
            products[name] = max(products[name], product_gflops(product))
    rate = max(products.values())
    print(f"{torch.get_num_threads()} threads, {options.precision}; float32 product: ", end="")
    print(", ".join(f"{name} {value:.0f} GFLOP/s" for name, value in products.items()))
    print(f"{'part':18}{'ms':>8}{'floor ms':>10}{'ratio':>7}")
    for name, spent in [*times.items(), ("whole window", sum(times.values()))]:
        floor = GFLOP.get(name, sum(GFLOP.values())) / rate
        print(f"{name:18}{spent * 1e3:8.0f}{floor * 1e3:10.0f}{spent / floor:7.2f}")


if __name__ == "__main__":
    main()
