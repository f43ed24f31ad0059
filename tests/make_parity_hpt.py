"""Make data/parity/hpt.npz with the inference code of Kong et al.

    python tests/make_parity_hpt.py CHECKOUT

CHECKOUT is a copy of github.com/qiuqiangkong/piano_transcription_inference; its requirements
(librosa, torchlibrosa, matplotlib, mido) and torch are needed.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
from filled import audio, filled
from smooth_maps import smooth_maps

N_SAMPLES = 8000
N_FRAMES = 1000
EXACT_EVERY = 4  # frames: of those computed in float64, so many are kept
CONSTANTS = ("spectrogram_extractor", "logmel_extractor")
THRESHOLDS = {
    "onset_threshold": 0.3,
    "offset_threshold": 0.3,
    "frame_threshold": 0.1,
    "pedal_offset_threshold": 0.2,
}
TARGET = Path(__file__).parent / "data" / "parity" / "hpt.npz"


def random_heads():
    """Heads by the names of the authors, so that all ways to end occur: the first keys sound on
    and on, and are struck once."""
    onset, offset = (smooth_maps(i, N_FRAMES, 88, 6) ** 3 for i in range(2))
    frame = smooth_maps(2, N_FRAMES, 88, 60)
    frame[20:-20, :8] = 0.5
    onset[300:, :8] = 0
    return {
        "reg_onset_output": onset,
        "reg_offset_output": offset,
        "frame_output": frame,
        "velocity_output": smooth_maps(3, N_FRAMES, 88, 9),
        "reg_pedal_onset_output": np.zeros((N_FRAMES, 1), np.float32),
        "reg_pedal_offset_output": smooth_maps(4, N_FRAMES, 1, 20) ** 4,
        "pedal_frame_output": smooth_maps(5, N_FRAMES, 1, 12),
    }


def fill(part, network):
    """Fill all but the constants of the front-end; returns their names and shapes."""
    state = network.state_dict()
    named = {name: t for name, t in state.items() if not name.startswith(CONSTANTS)}
    state.update({name: filled(f"{part}.{name}", tuple(t.shape)) for name, t in named.items()})
    network.load_state_dict(state)
    return {name: list(tensor.shape) for name, tensor in network.state_dict().items()}


def log_mel(network, samples):
    return network.logmel_extractor(network.spectrogram_extractor(samples))[0, 0].numpy()


def decode(utilities):
    post = utilities.RegressionPostProcessor(100, 88, **THRESHOLDS)
    notes, pedals = post.output_dict_to_note_pedal_arrays(random_heads())
    return notes, pedals, [event["velocity"] for event in post.detected_notes_to_events(notes)]


@torch.no_grad()
def main(checkout):
    sys.path.insert(0, checkout)
    from piano_transcription_inference import models, utilities

    both = models.Note_pedal(100, 88).eval()
    parts = {"note_model": both.note_model, "pedal_model": both.pedal_model}
    shapes = {part: fill(part, network) for part, network in parts.items()}
    samples = torch.from_numpy(audio(N_SAMPLES))[None]
    note_model = both.note_model
    mel = log_mel(note_model, samples)
    mel_float64 = log_mel(copy.deepcopy(note_model).double(), samples.double())
    heads = {name: output[0].numpy() for name, output in both(samples).items()}
    notes, pedals, velocities = decode(utilities)
    np.savez_compressed(
        TARGET,
        shapes=json.dumps(shapes),
        mel=mel,
        mel_float64=mel_float64[::EXACT_EVERY],
        **heads,
        notes=notes,
        velocities=np.array(velocities, np.int16),
        pedals=pedals,
    )


if __name__ == "__main__":
    main(sys.argv[1])
