"""Small models of the family, with weights by rule, as folders that the engine can load."""

import math

from filled import filled_state

from amtcli.front_ends.log_mel import LogMel, LogMelConfig
from amtcli.model_config import ModelConfig, Precision, Provenance, StoredWeights
from amtcli.model_writing import write_model
from amtcli.networks.autoregressive import Autoregressive, AutoregressiveConfig
from amtcli.windows import FastWindow, WindowConfig

HOP = 512
FRONT_END = LogMelConfig(
    sample_rate_hz=16000,
    window_samples=2048,
    hop_samples=HOP,
    n_mels=229,
    f_min_hz=30.0,
    f_max_hz=8000.0,
    mel_scale="htk",
    equal_area=True,
    spectrum="magnitude",
    logarithm="natural",
    floor=1e-5,
    dynamic_range_db=math.inf,
)
NETWORK = AutoregressiveConfig(229, conv_complexity=2, lstm_complexity=1, time_kernels=(3, 3, 3))
WINDOW = WindowConfig(48 * HOP, 32 * HOP, 8 * HOP, FastWindow(32 * HOP, 8 * HOP))


def fill(network):
    shapes = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(filled_state(shapes))
    return network.eval()


def write_folder(folder, network, network_table, decoder_table, window=WINDOW):
    """Write a model folder of a network on the log-mel front-end."""
    config = ModelConfig(
        format=1,
        network=network_table,
        front_end={"kind": "log_mel", **vars(FRONT_END)},
        window=window,
        decoder={"sample_rate_hz": 16000, "hop_samples": HOP, **decoder_table},
        precision=Precision(auto_bf16=False, auto_int8=False),
        weights=StoredWeights("weights.safetensors", "0" * 64, "float32"),
        provenance=Provenance("small", "1", "small", "none", "none", 0, 0, {}, "MIT"),
    )
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_model(folder, config, tensors)
    return folder


def write_autoregressive(folder, label_shift_frames=0):
    decoder = {
        "kind": "note_states",
        "label_shift_frames": label_shift_frames,
        "onset_boost": 1.0,
        "velocity": 64,
    }
    network = {"architecture": "autoregressive", **vars(NETWORK)}
    return write_folder(folder, fill(Autoregressive(NETWORK)), network, decoder)


def log_mel():
    return LogMel(FRONT_END)
