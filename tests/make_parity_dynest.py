"""Make data/parity/dynest.npz with the code of He et al.

    python tests/make_parity_dynest.py CHECKOUT

CHECKOUT is a copy of github.com/zhanh-he/piano-dynamic-estimation; torch is all that is needed.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import torch
from filled import audio, filled_state
from torch import nn

N_SAMPLES = 22050
N_FRAMES = 137  # a multiple neither of the stride nor, a fifth of it, of the stride
STRIDE = 5
LAST_LAYER, LATENT_SCALE = "encoder.conv4.", 0.001
TARGET = Path(__file__).parent / "data" / "parity" / "dynest.npz"
CONFIG = SimpleNamespace(
    feature=SimpleNamespace(
        sample_rate=22050,
        fft_size=1024,
        frames_per_second=50,
        audio_feature="sone",
        dynamic_classes=5,
    ),
    cnn=SimpleNamespace(latent_dim=8, temporal_scale=[STRIDE, STRIDE], use_mmoe=True, n_experts=8),
)

# What their front-ends import at the top and this one does not need.
IDLE = (
    "torchaudio", "mosqito", "mosqito.sq_metrics", "pandas", "h5py", "matplotlib",
    "matplotlib.pyplot", "matplotlib.ticker",
)  # fmt: skip


def sones(n_windows=2, n_frames=N_FRAMES):
    """Loudness as of music, (windows, frames, 22): most bands are soft, few loud."""
    random = np.random.RandomState(22)
    return torch.from_numpy(random.gamma(0.5, 2.0, (n_windows, n_frames, 22)).astype(np.float32))


def fill(shapes):
    """Weights by rule, but with a latent of a few units: gates of hundreds would be all or none."""
    state = filled_state(shapes)
    return {n: t * LATENT_SCALE if n.startswith(LAST_LAYER) else t for n, t in state.items()}


def features(extractors, sample_rate_hz):
    """Compute theirs in float64, in which all that they make is made for as long as it is set."""
    torch.set_default_dtype(torch.float64)
    extractor = extractors.PsychoFeatureExtractor(
        sample_rate=sample_rate_hz, fft_size=1024, frames_per_second=50, return_mode="sone"
    )
    loudness = extractor(torch.from_numpy(audio(N_SAMPLES)).double()[None])[0].T.numpy()
    torch.set_default_dtype(torch.float32)
    return loudness


@torch.no_grad()
def main(checkout):
    sys.modules.update({name: MagicMock() for name in IDLE})
    sys.path.insert(0, str(Path(checkout) / "pytorch"))
    import feature_extractor
    from models_audioCNN import MultiTaskCNN

    network = MultiTaskCNN(CONFIG).eval()
    network.extractor = nn.Identity()
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(fill(shapes))
    outputs = network.double()(sones().transpose(1, 2).double())
    np.savez_compressed(
        TARGET,
        shapes=json.dumps(shapes),
        **{f"sones_{rate}": features(feature_extractor, rate) for rate in (22050, 44100)},
        **{name: values.numpy() for name, values in outputs.items()},
    )


if __name__ == "__main__":
    main(sys.argv[1])
