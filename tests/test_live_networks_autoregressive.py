"""The autoregressive network live: when its notes are decided."""

from dataclasses import replace

import numpy as np
import pytest
from autoregressive_model import FRONT_END, write_autoregressive
from filled import audio

from amtcli.decoders.note_states import NoteOn, NoteStatesConfig
from amtcli.live import LiveTranscriber
from amtcli.live_networks.autoregressive import algorithmic_latency_s
from amtcli.model_folder import load_model
from amtcli.networks.autoregressive import AutoregressiveConfig


@pytest.mark.parametrize("label_shift_frames", [0, 2])
def test_notes_come_when_the_formula_says(tmp_path, label_shift_frames):
    model = load_model(write_autoregressive(tmp_path / "small", label_shift_frames))
    transcriber = LiveTranscriber(model)
    assert transcriber.latency_s == pytest.approx(0.160 - 0.032 * label_shift_frames)
    sound, block = audio(16000), 64
    found = 0
    for start in range(0, len(sound), block):
        for event in transcriber.feed(sound[start : start + block]):
            if isinstance(event, NoteOn):
                decided_s = (start + block) / 16000
                assert decided_s - event.onset_s == pytest.approx(transcriber.latency_s)
                found += 1
    assert found > 50


@pytest.mark.parametrize(
    ("window_samples", "hop_samples", "time_kernels", "shift", "latency_ms"),
    [  # rows of table 1 of low-latency-amt
        (2048, 512, (3, 3, 3), 0, 160),
        (2048, 512, (1, 3, 3), 0, 128),
        (2048, 512, (1, 1, 1), 0, 64),
        (2048, 512, (3, 3, 3), 3, 64),
        (1024, 512, (3, 3, 3), 0, 128),
        (1024, 512, (3, 3, 3), 3, 32),
        (1024, 256, (3, 3, 3), 0, 80),
        (1024, 256, (3, 3, 3), 2, 48),
    ],
)
def test_latency_of_published_variants(
    window_samples, hop_samples, time_kernels, shift, latency_ms
):
    latency_s = algorithmic_latency_s(
        replace(FRONT_END, window_samples=window_samples, hop_samples=hop_samples),
        AutoregressiveConfig(229, 48, 48, time_kernels),
        NoteStatesConfig(16000, hop_samples, shift, 1.0, 64),
    )
    assert latency_s == pytest.approx(latency_ms / 1000)


def test_nothing_comes_of_silence(tmp_path):
    transcriber = LiveTranscriber(load_model(write_autoregressive(tmp_path / "small")))
    assert transcriber.feed(np.zeros(50000, np.float32)) == []
    assert transcriber.close() == []
