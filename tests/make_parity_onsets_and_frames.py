"""Make data/parity/onsets_and_frames.npz with Jongwook Kim's code.

    python tests/make_parity_onsets_and_frames.py CHECKOUT

CHECKOUT is a copy of github.com/jongwook/onsets-and-frames; librosa, scipy and torch are needed.
"""

import importlib
import json
import sys
import types
from pathlib import Path

import librosa
import numpy as np
import torch
from filled import audio, filled_state, random_maps

COMPLEXITY = 2
N_SAMPLES = 16000
TARGET = Path(__file__).parent / "data" / "parity" / "onsets_and_frames.npz"


def authors_module(checkout, package, name):
    """Import one of their modules, without what their package imports beside it."""
    mel, pad_center = librosa.filters.mel, librosa.util.pad_center
    if "authors" not in vars(librosa):  # they pass by position what is by keyword by now
        librosa.authors = True
        librosa.filters.mel = lambda sr, n_fft, n_mels, fmin, fmax, htk: mel(
            sr=sr, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk
        )
        librosa.util.pad_center = lambda data, size: pad_center(data, size=size)
    if package not in sys.modules:
        sys.modules[package] = types.ModuleType(package)
        sys.modules[package].__path__ = [str(Path(checkout) / package)]
    return importlib.import_module(f"{package}.{name}")


def shapes_json(state):
    return json.dumps({name: list(tensor.shape) for name, tensor in state.items()})


@torch.no_grad()
def main(checkout):
    transcriber = authors_module(checkout, "onsets_and_frames", "transcriber")
    extract_notes = authors_module(checkout, "onsets_and_frames", "decoding").extract_notes
    network = transcriber.OnsetsAndFrames(229, 88, COMPLEXITY).eval()
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(filled_state(shapes))
    samples = torch.from_numpy(audio(N_SAMPLES))[None]
    mel = transcriber.melspectrogram.cpu()(samples[:, :-1]).transpose(-1, -2)
    onset, offset, activation, frame, velocity = (x[0].numpy() for x in network(mel))
    maps = random_maps()
    pitches, intervals, velocities = extract_notes(*(torch.from_numpy(m) for m in maps))
    np.savez_compressed(
        TARGET,
        shapes=shapes_json(network.state_dict()),
        mel=mel[0].numpy(),
        onset=onset,
        offset=offset,
        activation=activation,
        frame=frame,
        velocity=velocity,
        note_keys=pitches.astype(np.int16),
        note_frames=intervals.astype(np.int16),
        note_velocities=velocities.astype(np.float32),
    )


if __name__ == "__main__":
    main(sys.argv[1])
