"""Make data/parity/hppnet.npz and hcqt_hppnet.npz with the authors' code.

    python tests/make_parity_hppnet.py HPPNET LEGACY AMT_PIANO WEIGHTS

HPPNET is a copy of github.com/WX-Wei/HPPNet, LEGACY one of its commit cede616, AMT_PIANO one of
github.com/JavierVillatoro/AMT_Piano at commit 63dd9b8, WEIGHTS the published
model-220519-005612-tiny-498000.pt. librosa, nnAudio 0.3.3 and torch are needed.
"""

import importlib
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import torch
from filled import audio, filled_state, random_maps

from amtcli.checkpoints.pickled_module import load_inert, module_tensors

N_FRAMES = 128
KEPT = slice(60, 68)  # frames whose features and probabilities are stored
WIDTH = 8
HEADS = ("onset", "frame", "offset", "velocity")
FOLDER = Path(__file__).parent / "data" / "parity"

# What the programs import at their top and these computations do not need.
for name in (
    "lib2to3", "lib2to3.pgen2", "lib2to3.pgen2.token", "torchvision", "optuna", "sklearn",
    "sklearn.metrics", "tqdm", "onsets_and_frames.mel",
    "onsets_and_frames.layers",
):  # fmt: skip
    sys.modules.setdefault(name, MagicMock())


def import_torchaudio():
    """Stand in for the one class that is used: decibels as torchaudio has them."""
    torchaudio = types.ModuleType("torchaudio")
    torchaudio.transforms = types.SimpleNamespace(AmplitudeToDB=lambda top_db: Decibels(top_db))
    sys.modules["torchaudio"] = torchaudio


class Decibels(torch.nn.Module):
    def __init__(self, top_db):
        super().__init__()
        self.top_db = top_db

    def forward(self, x):
        decibels = 10 * torch.log10(torch.clamp(x, min=1e-10))
        return torch.maximum(decibels, decibels.max() - self.top_db)


def authors_module(checkout, package, name):
    """Import one of their modules, without what their package imports beside it."""
    sys.modules[package] = types.ModuleType(package)
    sys.modules[package].__path__ = [str(Path(checkout) / package)]
    return importlib.import_module(f"{package}.{name}")


def network(transcriber, class_name, width, heads):
    config = {
        "model_size": width, "device": "cpu", "head_type": "FB-LSTM", "trunk_type": "HD-Conv",
        "onset_subnet_heads": heads[0], "frame_subnet_heads": heads[1],
    }  # fmt: skip
    trained = ["onset_subnet", "frame_subnet"] if heads[1] else ["onset_subnet"]
    config |= {"SUBNETS_TO_TRAIN": trained, "SUB_NETS_TO_OPT": trained}
    made = getattr(transcriber, class_name)(None, None, config).eval()
    made.frame_num = N_FRAMES
    return made


def probabilities(result):
    return np.stack([result[head][0, 0, KEPT].numpy() for head in HEADS])


@torch.no_grad()
def hppnet(checkout, legacy_checkout, weights):
    samples = torch.from_numpy(audio(N_FRAMES * 320))[None]
    random = np.random.RandomState(2)
    features = torch.from_numpy(random.uniform(-80, 0, (1, N_FRAMES, 352)).astype(np.float32))
    stored = {}
    transcriber = authors_module(checkout, "hppnet", "transcriber")
    for name, heads in (("base", (HEADS, ())), ("sp", (HEADS[:1], HEADS[1:]))):
        made = network(transcriber, "HPPNet", WIDTH, heads)
        shapes = {key: tensor.shape for key, tensor in made.state_dict().items()}
        made.load_state_dict(filled_state(shapes))
        stored[name] = probabilities(made.forward_logspecgram(features))
        stored[f"{name}_names"] = np.array(list(shapes))
    stored["cqt"] = Decibels(80)(transcriber.to_cqt(samples))[0, :, KEPT].T.numpy()
    extract_notes = authors_module(checkout, "hppnet", "decoding").extract_notes
    maps = [torch.from_numpy(values) for values in random_maps()]
    pitches, intervals, velocities = extract_notes(*maps, 0.4, 0.4)
    stored |= {"pitches": pitches, "intervals": intervals, "velocities": velocities}

    transcriber = authors_module(legacy_checkout, "onsets_and_frames", "transcriber")
    made = network(transcriber, "HARPIST", 48, (HEADS, ()))
    made.load_state_dict(module_tensors(load_inert(Path(weights))))
    stored["tiny"] = probabilities(made(samples, torch.ones(1, N_FRAMES, 88)))
    stored["stft"] = Decibels(80)(transcriber.to_log_specgram(samples))[0, :, KEPT].T.numpy()
    np.savez_compressed(FOLDER / "hppnet.npz", **stored)


@torch.no_grad()
def hcqt_hppnet(checkout):
    source = (Path(checkout) / "06_training_HPPNET_256.py").read_text()
    program = types.ModuleType("program")
    exec(source.split("if __name__")[0], vars(program))
    made = program.HPPNet(lstm_hidden=48).eval()
    shapes = {key: tensor.shape for key, tensor in made.state_dict().items()}
    made.load_state_dict(filled_state(shapes))
    random = np.random.RandomState(2)
    features = random.rand(1, 3, 40, 88).astype(np.float32)
    heads = made(torch.from_numpy(features.transpose(0, 1, 3, 2)))
    logits = dict(zip(("onset", "frame", "offset", "velocity"), heads, strict=True))
    stored = {name: values[0, ::5].numpy() for name, values in logits.items()}
    np.savez_compressed(FOLDER / "hcqt_hppnet.npz", names=np.array(list(shapes)), **stored)


if __name__ == "__main__":
    import_torchaudio()
    hppnet(sys.argv[1], sys.argv[2], sys.argv[4])
    hcqt_hppnet(sys.argv[3])
