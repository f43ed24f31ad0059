"""Checkpoints of the multi-state autoregressive network.

"online_amt" saves a dictionary with ``model_state_dict``, "low-latency-amt" the whole module;
tensors have the same names in both, and states the same numbers. Constants of the front-end may
lie beside them: they are compared with ours instead of being stored. Neither says its hop or by
how many frames its labels were shifted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from amtcli.checkpoints.pickled_module import load_inert, module_tensors
from amtcli.checkpoints.renaming import conv_stack, lstm, pair, renamed
from amtcli.errors import ModelError
from amtcli.front_ends.log_mel import LogMelConfig, mel_filters
from amtcli.networks.autoregressive import AutoregressiveConfig

N_MELS = 229  # fixed in the programs

_NAMES = {
    **conv_stack("network.acoustic", "acoustic_model"),
    **lstm("network.language.lstm", "language_model", ("_l0", "_l1")),
    "network.language.embedding.weight": "class_embedding.weight",
    **pair("network.language.output", "language_post.0"),
}
_FOURIER_KEY = "melspectrogram.stft.forward_basis"
_MEL_KEY = "melspectrogram.mel_basis"


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """Read a checkpoint of either program into tensors with our names.

    Raises ModelError when it is none, or when its front-end is not the published one.
    """
    saved = load_inert(path)
    if isinstance(saved, Mapping) and "model_state_dict" in saved:
        saved = saved["model_state_dict"]
    state = module_tensors(saved)
    tensors = renamed(state, _NAMES, (_FOURIER_KEY, _MEL_KEY), path)
    _check_constants(state, path)
    return tensors


def network_config(tensors: Mapping[str, Tensor]) -> AutoregressiveConfig:
    """Tell the sizes of the network from its tensors (our names)."""
    first, second, third = (
        tensors[f"network.acoustic.convolutions.{layer}.weight"].shape[2] for layer in range(3)
    )
    return AutoregressiveConfig(
        n_mels=N_MELS,
        conv_complexity=len(tensors["network.acoustic.norms.0.weight"]),
        lstm_complexity=tensors["network.language.output.weight"].shape[1] // 16,
        time_kernels=(first, second, third),
    )


def _check_constants(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint whose window or mel filters are not those of our front-end."""
    ours = {}
    if _FOURIER_KEY in state:  # real parts, then imaginary ones; at 0 Hz that is the window
        ours[_FOURIER_KEY] = torch.hann_window(state[_FOURIER_KEY].shape[-1])
    if _MEL_KEY in state:
        window_samples = 2 * (state[_MEL_KEY].shape[-1] - 1)
        ours[_MEL_KEY] = mel_filters(_front_end(window_samples)).T
    for key, tensor in ours.items():
        theirs = state[key][0, 0] if key == _FOURIER_KEY else state[key]
        if theirs.shape != tensor.shape or not torch.allclose(theirs, tensor, rtol=0, atol=1e-6):
            raise ModelError(f"{path}: {key} is not that of the published front-end")


def _front_end(window_samples: int) -> LogMelConfig:
    return LogMelConfig(
        sample_rate_hz=16000,
        window_samples=window_samples,
        hop_samples=512,
        n_mels=N_MELS,
        f_min_hz=30.0,
        f_max_hz=8000.0,
        mel_scale="htk",
        equal_area=True,
        spectrum="magnitude",
        logarithm="natural",
        floor=1e-5,
        dynamic_range_db=math.inf,
    )
