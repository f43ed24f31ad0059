"""Checkpoints of Kong et al. in all their layouts, and files that are none."""

import pytest
import torch
from hpt_checkpoint import constants, shapes

from amtcli.checkpoints import ORIGINS
from amtcli.checkpoints.hpt import DECODER, ORIGIN, WINDOW, network_config
from amtcli.decoders.regression import RegressionDecoder
from amtcli.errors import ModelError

MEL = "logmel_extractor.melW"


@pytest.fixture(scope="module")
def fixed():
    return constants()


@pytest.fixture
def tiny():
    """State dicts of both parts with their names; vectors have their size, all else has none."""
    return {
        part: {
            name: torch.full(shape if len(shape) == 1 else (1,), float(number))
            for number, (name, shape) in enumerate(names.items())
        }
        for part, names in shapes().items()
    }


def with_constants(state, fixed):
    return {**state, **fixed}


def saved(tmp_path, content):
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)
    return path


def test_both_parts_are_read_by_their_names(tmp_path, tiny, fixed):
    model = {part: with_constants(state, fixed) for part, state in tiny.items()}
    tensors = ORIGIN.read(saved(tmp_path, {"model": model}))
    assert ORIGINS["hpt"] is ORIGIN
    assert len(tensors) == 316 + 224 - 2 * 3
    note, pedal = tiny["note_model"], tiny["pedal_model"]
    for ours, theirs in (
        ("heads.frame.blocks.2.convolutions.1.weight", "frame_model.conv_block3.conv2.weight"),
        ("heads.onset.recurrent.bias_hh_l1_reverse", "reg_onset_model.gru.bias_hh_l1_reverse"),
        ("onset.output.bias", "reg_onset_fc.bias"),
        ("frame.recurrent.weight_ih_l0", "frame_gru.weight_ih_l0"),
    ):
        assert torch.equal(tensors[f"network.notes.{ours}"], note[theirs])
    offset = tensors["network.pedals.heads.pedal_offset.dense.weight"]
    assert torch.equal(offset, pedal["reg_pedal_offset_model.fc5.weight"])


@pytest.mark.parametrize(("part", "ours"), [("note_model", "notes"), ("pedal_model", "pedals")])
def test_a_training_checkpoint_holds_one_part(tmp_path, tiny, fixed, part, ours):
    state = {f"module.{k}": v for k, v in with_constants(tiny[part], fixed).items()}
    content = {"iteration": 300, "model": state, "sampler": {"pointer": 7, "other": slice(3)}}
    tensors = ORIGIN.read(saved(tmp_path, content))
    assert {name.split(".")[1] for name in tensors} == {ours}
    config = network_config(tensors)
    assert (config.notes, config.pedals) == (ours == "notes", ours == "pedals")
    assert (config.conv_channels, config.recurrent_width) == ((48, 64, 96, 128), 256)


def test_constants_may_be_absent(tmp_path, tiny, fixed):
    state = {k: v for k, v in tiny["pedal_model"].items() if k not in fixed}
    assert len(ORIGIN.read(saved(tmp_path, {"model": state}))) == 221


@pytest.mark.parametrize("key", [MEL, "spectrogram_extractor.stft.conv_imag.weight"])
def test_another_front_end_is_refused(tmp_path, tiny, fixed, key):
    state = with_constants(tiny["note_model"], fixed)
    state[key] = state[key] + 1e-4
    with pytest.raises(ModelError, match=f"{key} is not that of the published front-end"):
        ORIGIN.read(saved(tmp_path, {"model": state}))


def test_missing_and_unexpected_tensors_are_named(tmp_path, tiny, fixed):
    state = with_constants(tiny["note_model"], fixed)
    state["frame_model.fc6.weight"] = state.pop("frame_model.fc5.weight")
    with pytest.raises(ModelError, match=r"fc5\.weight is missing.*fc6\.weight is unexpected"):
        ORIGIN.read(saved(tmp_path, {"model": state}))


def test_half_of_a_pair_is_read_as_it_is(tmp_path, tiny, fixed):
    model = {"note_model": with_constants(tiny["note_model"], fixed)}
    tensors = ORIGIN.read(saved(tmp_path, {"model": model}))
    assert {name.split(".")[1] for name in tensors} == {"notes"}


@pytest.mark.parametrize("content", [{"state_dict": {}}, [1, 2], {"model": 3}])
def test_other_checkpoints_are_refused(tmp_path, content):
    with pytest.raises(ModelError, match=r"is not high-resolution.* is missing, .* and 309 more"):
        ORIGIN.read(saved(tmp_path, content))


@pytest.mark.parametrize(("fast", "n_frames"), [(False, (750, 500)), (True, (900, 800))])
def test_windows_keep_what_the_authors_keep(fast, n_frames):
    stream = RegressionDecoder(DECODER, WINDOW.spec(fast=fast))._stream
    first, second = (len(stream.push(None)) for _ in range(2))
    assert (first + 4, second) == n_frames  # four wait for what follows
