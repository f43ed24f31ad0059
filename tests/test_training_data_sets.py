"""Every kind of data set, from its folder through a pack to an epoch of training."""

import json
from dataclasses import dataclass

import data_sets
import numpy as np
import pytest
import torch
import toy_training as toy
from torch.nn import functional as F
from typer.testing import CliRunner

from amtcli.cli import app
from amtcli.datasets.pack import open_pack
from amtcli.training.objectives.objective import Loss, Objective

RUNNER = CliRunner()
RATE_HZ = 8000  # of the mazurkas
FOURIER = (
    "network.complexity=2",
    "training.batch_size=2",
    "training.log_every_steps=1",
    "sampling.length_samples=16384",
    "sampling.overhang_samples=0",
    "window.length_samples=32768",
    "window.hop_samples=24576",
    "window.padding_samples=4096",
    "window.fast.hop_samples=24576",
    "window.fast.padding_samples=4096",
)


@pytest.fixture(autouse=True)
def one_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def amt(*words):
    result = RUNNER.invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result


def epoch_steps(pack, length_samples, batch_size):
    """How many steps it takes to draw as much as the recordings are long."""
    n_samples = sum(recording.n_samples for recording in open_pack(pack).split("train"))
    return -(-n_samples // (length_samples * batch_size))


def losses(run):
    lines = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [line["loss"] for line in lines if line["kind"] == "train"]


@pytest.mark.parametrize(
    ("kind", "make", "options"),
    [("maestro", data_sets.make_maestro, ()), ("smd", data_sets.make_smd, ("--split", "train"))],
)
def test_an_epoch_of_notes(tmp_path, kind, make, options):
    make(tmp_path / kind)
    pack, run = tmp_path / "pack", tmp_path / "run"
    amt("pack", kind, tmp_path / kind, "-o", pack, "-j", 1, *options)
    steps = epoch_steps(pack, 16384, 2)
    settings = [word for s in (*FOURIER, f"training.steps={steps}") for word in ("-s", s)]
    amt("train", "onsets-and-frames", "--data", pack, "-o", run, "--device", "cpu", *settings)
    found = losses(run)
    assert len(found) == steps > 1
    assert found[-1] < found[0]


@dataclass(frozen=True)
class BeatsConfig:
    pass


class Beats(Objective):
    """The dynamic class that a mazurka's beats have in each frame, as the first five keys."""

    def __init__(self, config):
        pass

    def targets(self, window):
        n_frames = toy.LENGTH_SAMPLES // toy.HOP_SAMPLES
        classes = np.full(n_frames, -1)
        beats = window.labels.beats
        for time_s, dynamics in zip(beats.time_s, beats.dynamics, strict=True):
            classes[round(time_s * RATE_HZ / toy.HOP_SAMPLES) :] = dynamics
        return {"dynamics": classes}

    def loss(self, network, features, targets):
        logits = network(features)[..., :5].transpose(1, 2)
        total = F.cross_entropy(logits, targets["dynamics"], ignore_index=-1, reduction="sum")
        total = total / (targets["dynamics"] >= 0).sum().clamp(min=1)
        return Loss(total, {"dynamics": total.detach()})


def test_an_epoch_of_dynamics(tmp_path, monkeypatch):
    for registry, entry in toy.entries():
        monkeypatch.setitem(registry, "toy", entry)
    monkeypatch.setitem(toy.objectives.OBJECTIVES, "beats", (BeatsConfig, Beats))
    data_sets.make_mazurka(tmp_path / "data")
    pack, run = tmp_path / "pack", tmp_path / "run"
    amt("pack", "mazurka", tmp_path / "data", "-o", pack, "-j", 1, "--fold", 0,
        "--sample-rate", RATE_HZ)  # fmt: skip
    recipe = tmp_path / "beats.toml"
    old = '[objective]\nkind = "toy"\npoison = false\n'
    text = toy.RECIPE.replace(old, '[objective]\nkind = "beats"\n')
    text = text.replace(f"sample_rate_hz = {toy.RATE_HZ}", f"sample_rate_hz = {RATE_HZ}")
    recipe.write_text(text.replace('metric = "onset_f1"', 'metric = "neg_loss"'))
    steps = epoch_steps(pack, toy.LENGTH_SAMPLES, 8)
    amt("train", recipe, "--data", pack, "-o", run, "--device", "cpu", "-s",
        f"training.steps={steps}", "-s", "training.log_every_steps=1")  # fmt: skip
    found = losses(run)
    assert len(found) == steps > 1
    assert found[-1] < found[0] < 2 * np.log(5)
