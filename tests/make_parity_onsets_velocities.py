"""Make data/parity/onsets_velocities.npz with the code of Andres Fernandez.

    python tests/make_parity_onsets_velocities.py CHECKOUT

CHECKOUT is a copy of github.com/andres-fr/iamusica_training; torchaudio, h5py, pandas, parse and
torch are needed.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
from filled import audio, filled_state
from smooth_maps import smooth_maps

N_SAMPLES = 16000
N_FRAMES = 400
EXACT_EVERY = 4  # frames: of those computed in float64, so many are kept
LAST_NORMS, LOGIT_SCALE = ("1.bn.weight", "1.bn.bias"), 0.01
TARGET = Path(__file__).parent / "data" / "parity" / "onsets_velocities.npz"


def random_maps():
    """Onset probabilities that peak about every fifth frame, and velocities."""
    return smooth_maps(0, N_FRAMES, 88, 3), smooth_maps(1, N_FRAMES, 88, 3)


def fill(shapes):
    """Weights by rule that give logits as large as a trained network's, not of several hundred."""
    state = filled_state(shapes)
    return {name: t * LOGIT_SCALE if name.endswith(LAST_NORMS) else t for name, t in state.items()}


@torch.no_grad()
def main(checkout):
    sys.path.insert(0, checkout)
    from ov_piano.inference import OnsetVelocityNmsDecoder
    from ov_piano.models.ov import OnsetsAndVelocities
    from ov_piano.utils import TorchWavToLogmel

    network = OnsetsAndVelocities(2, 229, 88, (200, 200), 0, 0.1, 0).eval()
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(fill(shapes))
    samples = torch.from_numpy(audio(N_SAMPLES))
    front_end = TorchWavToLogmel(16000, 2048, 384, 229, 50, 8000)
    mel = front_end(samples)
    mel_float64 = copy.deepcopy(front_end).double()(samples.double())
    stages, velocity = network(mel[None])
    decoder = OnsetVelocityNmsDecoder(88, 3, 1, 11, 1, 1)
    onsets = decoder(*(torch.from_numpy(m.T.copy())[None] for m in random_maps()), pthresh=0.7)
    np.savez_compressed(
        TARGET,
        shapes=json.dumps(shapes),
        mel=mel.T.numpy(),
        mel_float64=mel_float64.T[::EXACT_EVERY].numpy(),
        filters=front_end.melspec.mel_scale.fb.numpy(),
        stages=torch.stack(stages)[:, 0].transpose(1, 2).numpy(),
        velocity=velocity[0].T.numpy(),
        onset_keys=onsets["key"].to_numpy(np.int16),
        onset_frames=onsets["t_idx"].to_numpy(np.int16),
        onset_probabilities=onsets["prob"].to_numpy(np.float32),
        onset_velocities=onsets["vel"].to_numpy(np.float32),
    )


if __name__ == "__main__":
    main(sys.argv[1])
