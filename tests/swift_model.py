"""Small models of Swift that find notes in anything, as folders that the engine can load."""

from dataclasses import replace

import torch
from test_networks_swift import SMALL, network

from amtcli.front_ends.log_frequency import LogFrequencyConfig
from amtcli.model_config import ModelConfig, Precision, Provenance, StoredWeights
from amtcli.model_writing import write_model
from amtcli.windows import FastWindow, WindowConfig

RATE_HZ, HOP = 16000, 400
FRONT_END = LogFrequencyConfig(
    sample_rate_hz=RATE_HZ,
    hop_samples=HOP,
    window_samples=(4096, 1024),
    bins_per_semitone=3,
    lowest_pitch=21,
    n_semitones=98,
    floor_db=-90.0,
    lookahead_samples=1024,
)
# As far as the small network hears: 32 frames, and 8 of samples before them.
PADDING = 52 * HOP
WINDOW = WindowConfig(64 * HOP + 2 * PADDING, 64 * HOP, PADDING, FastWindow(64 * HOP, PADDING))
DECODER = {
    "kind": "peaks",
    "sample_rate_hz": RATE_HZ,
    "hop_samples": HOP,
    "onset_threshold": 0.75,
    "offset_threshold": 0.5,
    "frame_threshold": 0.2,
    "pedal_offset_threshold": 0.985,
    "pedal_frame_threshold": 0.2,
    "longest_note_s": 2.0,
}


def write_swift(folder, max_lookahead_frames=4, lookahead_samples=1024):
    """Write a model named as its folder; some of its heads say yes about half of the time."""
    network_config = replace(SMALL, max_lookahead_frames=max_lookahead_frames)
    built = network(network_config)
    with torch.no_grad():
        built.level_weight.zero_()  # live, velocities are counted from the level so far
        for output in (built.heads, built.pedal.output):
            output.bias.zero_()
        built.pedal.output.weight.mul_(0.1)  # between always and never
    front_end = replace(FRONT_END, lookahead_samples=lookahead_samples)
    config = ModelConfig(
        format=1,
        network={"architecture": "swift", **vars(network_config)},
        front_end={"kind": "log_frequency", **vars(front_end)},
        window=WINDOW,
        decoder=DECODER,
        precision=Precision(auto_bf16=False, auto_int8=False),
        weights=StoredWeights("weights.safetensors", "0" * 64, "float32"),
        provenance=Provenance(folder.name, "1", "small", "none", "none", 0, 0, {}, "MIT"),
    )
    tensors = {f"network.{name}": tensor for name, tensor in built.state_dict().items()}
    write_model(folder, config, tensors)
    return folder
