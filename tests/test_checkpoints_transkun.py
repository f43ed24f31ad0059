import os
import pickle
import re

import pytest
import torch

from amtcli.checkpoints.transkun import ORIGIN
from amtcli.errors import ModelError
from amtcli.front_ends.multi_window_log_mel import (
    MultiWindowLogMel,
    MultiWindowLogMelConfig,
    mel_filters,
)
from amtcli.networks.transkun import Transkun, TranskunConfig

FRONT_END = MultiWindowLogMelConfig(44100, 4096, 1024, 12, 30.0, 8000.0, 5, 1e-5)
NETWORK = TranskunConfig(
    n_input_channels=6, base_channels=4, width=16, n_heads=2, n_layers=2, ffn_factor=4, head_width=8
)
PREFIX = "framewiseFeatureExtractor"


def checkpoint_keys(n_layers):
    """All keys of a checkpoint, written out from the authors' file and not from our table."""
    pair = ("weight", "bias")
    keys = [f"{PREFIX}.freq2mels"]
    keys += [f"{PREFIX}.spectrogramExtractor.{k}" for k in ("win", "winGen.sigma", "winGen.center")]
    for head in ("scorer.map.0", "velocityPredictor.0", "velocityPredictor.3"):
        keys += [f"{head}.{k}" for k in pair]
    keys += [f"refinedOFPredictor.{i}.{k}" for i in (0, 3) for k in pair]
    for builder in ("posEmbedBuilder", "posEmbedBuilderAttnTF", "posEmbedBuilderAttnTE"):
        keys += [f"backbone.{builder}.{m}.{k}" for m in ("proj", "mlp.0", "mlp.3") for k in pair]
    keys += [f"backbone.{m}.{k}" for m in ("inputConv", "upConv1dSkip") for k in pair]
    keys += [f"backbone.downConv.{i}.{k}" for i in (1, 2, 5, 6, 9, 10, 13, 14) for k in pair]
    for layer in range(n_layers):
        for axis in "FT":
            attention = f"backbone.encoderLayers.{layer}.mhaBlock{axis}"
            ffn = f"backbone.encoderLayers.{layer}.fnnBlock{axis}"
            keys += [f"{attention}.scale", f"{ffn}.scale"]
            keys += [f"{attention}.module.{k}_proj_weight" for k in "qkv"]
            keys += [f"{attention}.module.out_proj.{k}" for k in pair]
            keys += [f"{ffn}.module.{i}.{k}" for i in (0, 3) for k in pair]
    return keys


def shape(key):
    """The shape of a tensor in the small checkpoint, by the rules of the authors' layers."""
    base, width = NETWORK.base_channels, NETWORK.width
    embedded = base if "posEmbedBuilder." in key else width
    rules = {
        r"winGen": (5,),
        r"scorer.map.0.weight": (2 * width + 1, width),
        r"scorer.map.0.bias": (2 * width + 1,),
        r"Predictor.0.weight": (8, 3 * width),
        r"Predictor.0.bias": (8,),
        r"velocityPredictor.3": (128, 8),
        r"refinedOFPredictor.3": (4, 8),
        r"Builder.proj.weight": (base, 1),
        r"AttnT.\.proj.weight": (width, 2),
        r"proj.bias": (embedded,),
        r"mlp.0": (4 * embedded, embedded),
        r"mlp.3": (embedded, 4 * embedded),
        r"inputConv": (base, 6, 3, 3),
        r"downConv.1\.weight": (2 * base, base, 3, 3),
        r"downConv.5\.weight": (width, 2 * base, 3, 3),
        r"downConv.(9|13)\.weight": (width, width, 3, 3),
        r"downConv.[12]\.": (2 * base,),
        r"downConv": (width,),
        r"upConv1dSkip": (width, width, 8),
        r"fnn.*module.0": (4 * width, width),
        r"fnn.*module.3": (width, 4 * width),
        r"scale": (width,),
        r"proj.?weight|out_proj": (width, width),
    }
    found = next(dims for rule, dims in rules.items() if re.search(rule, key))
    return found[:1] if key.endswith("bias") else found


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(shape(key), generator=generator)
        for key in checkpoint_keys(NETWORK.n_layers)
        if not key.endswith((".win", "freq2mels"))
    }
    state[f"{PREFIX}.freq2mels"] = mel_filters(FRONT_END)
    state[f"{PREFIX}.spectrogramExtractor.win"] = torch.hann_window(4096)
    return state


@pytest.fixture
def save(tmp_path):
    def write(checkpoint):
        torch.save(checkpoint, tmp_path / "2.0.pt")
        return tmp_path / "2.0.pt"

    return write


def test_every_tensor_finds_its_place(state, save):
    tensors = ORIGIN.read(save({"state_dict": state}))
    for part, module in (
        ("front_end", MultiWindowLogMel(FRONT_END)),
        ("network", Transkun(NETWORK)),
    ):
        prefix = f"{part}."
        own = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        module.load_state_dict(own, strict=True)
    constants = state[f"{PREFIX}.freq2mels"].numel() + 4096
    assert sum(t.numel() for t in tensors.values()) + constants == sum(
        t.numel() for t in state.values()
    )


def test_the_published_checkpoint_has_184_tensors():
    assert len(checkpoint_keys(n_layers=6)) == len(set(checkpoint_keys(n_layers=6))) == 184


def test_projections_are_turned_and_stacked(state, save):
    tensors = ORIGIN.read(save({"state_dict": state}))
    x = torch.randn(3, NETWORK.width)
    theirs = "backbone.encoderLayers.1.mhaBlockT.module"
    ours = "network.blocks.1.time_attention"
    key, value = (x @ tensors[f"{ours}.key_value.weight"].T).chunk(2, dim=-1)
    torch.testing.assert_close(key, x @ state[f"{theirs}.k_proj_weight"])
    torch.testing.assert_close(value, x @ state[f"{theirs}.v_proj_weight"])
    query = x @ tensors[f"{ours}.query.weight"].T
    torch.testing.assert_close(query, x @ state[f"{theirs}.q_proj_weight"])


def test_the_transposed_convolution_becomes_one_map_per_phase(state, save):
    tensors = ORIGIN.read(save({"state_dict": state}))
    weight, bias = (state[f"backbone.upConv1dSkip.{k}"] for k in ("weight", "bias"))
    steps = torch.randn(1, NETWORK.width, 3)
    frames = torch.nn.functional.conv_transpose1d(steps, weight, bias, stride=8)[0].T  # (24, width)
    phases = torch.einsum("ws,pow->spo", steps[0], tensors["network.frames.weight"])
    ours = phases.flatten(0, 1) + tensors["network.frames.bias"]
    torch.testing.assert_close(ours, frames, rtol=1e-4, atol=1e-5)


def test_windows_keep_their_centres_and_widths_apart(state, save):
    tensors = ORIGIN.read(save({"state_dict": state}))
    extractor = f"{PREFIX}.spectrogramExtractor.winGen"
    assert torch.equal(tensors["front_end.centers"], state[f"{extractor}.center"])
    assert torch.equal(tensors["front_end.widths"], state[f"{extractor}.sigma"])


def test_the_best_state_of_a_training_file_is_taken(state, save):
    last = {key: torch.zeros_like(value) for key, value in state.items()}
    tensors = ORIGIN.read(save({"state_dict": last, "best_state_dict": state}))
    assert torch.equal(tensors["network.scorer.map.bias"], state["scorer.map.0.bias"])


def test_missing_and_unexpected_tensors_are_named(state, save):
    del state["backbone.encoderLayers.0.mhaBlockF.module.q_proj_weight"]
    state["backbone.surplus"] = torch.zeros(1)
    message = r"q_proj_weight is missing, backbone\.surplus is unexpected$"
    with pytest.raises(ModelError, match=message):
        ORIGIN.read(save({"state_dict": state}))


@pytest.mark.parametrize("key", ["freq2mels", "spectrogramExtractor.win"])
def test_another_front_end_is_refused(state, save, key):
    state[f"{PREFIX}.{key}"] = state[f"{PREFIX}.{key}"] * 1.01
    with pytest.raises(ModelError, match=f"{key} is not that of the published front-end"):
        ORIGIN.read(save({"state_dict": state}))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_a_pickle_bomb_is_not_executed(tmp_path, write):
    write({"state_dict": {"x": Bomb(tmp_path / "executed")}}, tmp_path / "bomb.pt")
    with pytest.raises(ModelError, match=r"bomb\.pt (is not Transkun V2|cannot be read)"):
        ORIGIN.read(tmp_path / "bomb.pt")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a checkpoint"),
        (b"RIFF....WAVEfmt ", "cannot be read as a checkpoint"),
        (pickle.dumps([1, 2]), "cannot be read as a checkpoint"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "2.0.pt").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        ORIGIN.read(tmp_path / "2.0.pt")


@pytest.mark.parametrize("checkpoint", [{"model": {}}, {"state_dict": {"x": 1}}, [1]])
def test_a_file_without_a_state_dict_is_refused(save, checkpoint):
    with pytest.raises(ModelError, match=r"is not Transkun V2: .* is missing"):
        ORIGIN.read(save(checkpoint))
