"""Make data/parity/velocity.npz with the code of the score-informed velocity networks.

    python tests/make_parity_velocity.py CHECKOUT

CHECKOUT is a copy of github.com/zhanh-he/score-informed-amt; torch is all that is needed: their
front-ends are left out, so that the networks are given features.
"""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import torch
from filled import filled
from torch import nn
from velocity_inputs import features, logits, rolls

TARGET = Path(__file__).parent / "data" / "parity" / "velocity.npz"
CONFIG = SimpleNamespace(
    feature=SimpleNamespace(
        sample_rate=22050,
        fft_size=2048,
        frames_per_second=100,
        audio_feature="logmel",
        classes_num=88,
    ),
    model=SimpleNamespace(hppnet_model_size=128),
)


def fill(name, network):
    """Fill all weights by their authors' names."""
    state = network.state_dict()
    network.load_state_dict(
        {key: filled(f"{name}.{key}", tuple(tensor.shape)) for key, tensor in state.items()}
    )
    return network.eval()


def branches(checkout):
    """Velocities (frames, 88) of one window, of DynEst their logits."""
    extractor = ModuleType("feature_extractor")
    bins = {"logmel": 128, "cqt": 352}
    extractor.get_feature_extractor_and_bins = lambda name, *_: (nn.Identity(), bins[name])
    sys.modules["feature_extractor"] = extractor
    sys.path.insert(0, str(checkout / "pytorch"))
    from model.dynest_adapter import DynestAudioCNN
    from model.hppnet_adapter import HPPNet_SP
    from model.hpt_adapter import Single_Velocity_HPT

    made = {"hpt": Single_Velocity_HPT, "hppnet": HPPNet_SP, "dynest": DynestAudioCNN}
    mels = features(1, 128).transpose(1, 2)
    heard = {name: fill(name, network(CONFIG))(mels) for name, network in made.items()}
    CONFIG.feature.audio_feature = "cqt"
    pitches = features(1, 352).transpose(1, 2)
    heard["hppnet_cqt"] = fill("hppnet", HPPNet_SP(CONFIG))(pitches)
    velocities = {name: out["velocity_output"][0].numpy() for name, out in heard.items()}
    # With weights of this rule it is always quite sure: its velocities would hide what it computes.
    return velocities | {"dynest": heard["dynest"]["velocity_logits"][0].numpy()}


def modules():
    """Velocities (windows, frames, 88)."""
    import score_inf  # noqa: F401 - fills the registry
    from score_inf.io_types import AcousticIO, CondIO
    from score_inf.registry import build_score_inf

    heard = logits(2)
    onset, frame = rolls(2)
    score = CondIO(onset=onset, frame=frame, exframe=frame * (1 - onset))
    wanted = {
        "note_editor": {"use_cond_feats": []},
        "note_editor_frame": {"use_cond_feats": ["frame"]},
        "bilstm": {"cond_keys": ["onset"]},
        "bilstm_change": {"cond_keys": ["onset", "exframe"], "mode": "residual"},
        "dual_gated": {"cond_keys": ["onset", "frame"]},
        "scrr": {"cond_keys": ["onset", "frame"], "in_feats": ["vel_logits", "vel"]},
    }
    kinds = {name: name.removesuffix("_frame").removesuffix("_change") for name in wanted}
    return {
        name: fill(name, build_score_inf(kinds[name], settings))(
            AcousticIO(vel=torch.sigmoid(heard), vel_logits=heard), score
        )["vel_corr"].numpy()
        for name, settings in wanted.items()
    }


def film_unets(checkout):
    """Velocities (frames, 88) of one window, with the score and without."""
    transforms = ModuleType("audio_transforms")
    for name in ("Spectrogram", "LogmelFilterBank", "BsslExtractor"):
        setattr(transforms, name, nn.Identity)
    sys.modules["audio_transforms"] = transforms
    for name in [name for name in sys.modules if name.partition(".")[0] in ("model", "config")]:
        del sys.modules[name]
    sys.path.insert(0, str(checkout / "benchmarks" / "kim_ismir2024" / "src"))
    import config
    from model import ScoreInformedMidiVelocityEstimator

    _, frame = rolls(1)
    answers = {}
    for name, config.condition_check in (("film_unet", True), ("unet", False)):
        network = fill(name, ScoreInformedMidiVelocityEstimator(100, 88))
        output = network(features(1, 229)[:, None], frame)
        answers[name] = output["velocity_output"][0].numpy()
    return answers


@torch.no_grad()
def main(checkout):
    arrays = branches(checkout) | modules() | film_unets(checkout)
    np.savez_compressed(TARGET, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
