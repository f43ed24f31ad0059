"""Checkpoints of every origin become models that load; others are named with what they lack."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from filled import as_module, filled_state
from hpt_checkpoint import constants, shapes
from test_checkpoints_transkun import FRONT_END as TRANSKUN_FRONT_END
from test_checkpoints_transkun import PREFIX, checkpoint_keys, shape

from amtcli.catalog import list_models, shipped_folder
from amtcli.checkpoints import ORIGINS, hppnet
from amtcli.checkpoints.origin import Expected
from amtcli.errors import ModelError, UsageError
from amtcli.front_ends.log_mel import mel_filters
from amtcli.front_ends.multi_window_log_mel import mel_filters as transkun_filters
from amtcli.importing import import_checkpoint
from amtcli.live import latency_s
from amtcli.model_config import read_config
from amtcli.model_folder import load_model
from amtcli.networks.hcqt_hppnet import HcqtHppnet, HcqtHppnetConfig
from amtcli.networks.hppnet import Hppnet, HppnetConfig

PARITY = Path(__file__).parent / "data" / "parity"
WINDOW_KEY, MEL_KEY = "melspectrogram.stft.forward_basis", "melspectrogram.mel_basis"


@pytest.fixture(autouse=True)
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def stored_shapes(origin):
    return json.loads(str(np.load(PARITY / f"{origin}.npz")["shapes"]))


def autoregressive(window_samples=2048):
    tensors = filled_state(
        {n: s for n, s in stored_shapes("autoregressive").items() if not n.startswith("mel")}
    )
    config = (
        ORIGINS["autoregressive"]
        .describe(
            ORIGINS["autoregressive"].convert(tensors, Path()),
            {WINDOW_KEY: torch.zeros(1, 1, window_samples)},
            {"hop_samples": 512, "label_shift_frames": 0},
        )
        .front_end[1]
    )
    basis = torch.zeros(2, 1, window_samples)
    basis[0, 0] = torch.hann_window(window_samples)
    return tensors | {WINDOW_KEY: basis, MEL_KEY: mel_filters(config).T}


def hpt():
    fixed = constants()
    return {
        "model": {
            part: {n: fixed[n] if n in fixed else torch.zeros(s) for n, s in names.items()}
            for part, names in shapes().items()
        }
    }


def transkun():
    state = {
        key: torch.zeros(shape(key))
        for key in checkpoint_keys(2)
        if not key.endswith((".win", "freq2mels"))
    }
    state[f"{PREFIX}.freq2mels"] = transkun_filters(TRANSKUN_FRONT_END)
    state[f"{PREFIX}.spectrogramExtractor.win"] = torch.hann_window(4096)
    return {"state_dict": state}


def of_hppnet(config):
    """A whole module, with the authors' names."""
    ours = Hppnet(config).state_dict()
    stored = np.load(PARITY / "hppnet.npz")["sp_names" if config.own_onset_trunk else "base_names"]
    names = hppnet.our_names([str(name) for name in stored])
    return as_module({theirs: ours[our[len("network.") :]] for our, theirs in names.items()})


def amt_piano():
    """Trained on several devices; kernels, but for one, are square."""
    tensors = HcqtHppnet(HcqtHppnetConfig(3, 24, 48)).state_dict().values()
    names = np.load(PARITY / "hcqt_hppnet.npz")["names"]
    return {f"module.{name}": tensor for name, tensor in zip(names, tensors, strict=True)}


CHECKPOINTS = {
    "autoregressive": lambda: {"model_state_dict": autoregressive(), "model_complexity_conv": 2},
    "dynest": lambda: {"epoch": 8, "model": filled_state(stored_shapes("dynest"))},
    "hcqt-hppnet": amt_piano,
    "hppnet": lambda: of_hppnet(HppnetConfig(2, 8, False)),
    "hpt": hpt,
    "onsets-and-frames": lambda: as_module(filled_state(stored_shapes("onsets_and_frames"))),
    "onsets-velocities": lambda: filled_state(stored_shapes("onsets_velocities")),
    "transkun": transkun,
}
HEAR_WHOLE_WINDOWS = {
    "dynest",
    "hcqt_hppnet",
    "hppnet",
    "hpt",
    "onsets_and_frames",
    "onsets_velocities",
    "transkun",
}
N_PARAMETERS = {
    "dynest": "444,765",
    "hcqt-hppnet": "268,324",
    "hpt": "34,080,055",
    "onsets-velocities": "3,127,168",
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_origin_becomes_a_model_that_loads(data, tmp_path, name):
    torch.save(CHECKPOINTS[name](), tmp_path / "checkpoint.pt")
    imported = import_checkpoint(tmp_path / "checkpoint.pt")
    assert (imported.name, imported.folder) == (name, data / name)
    model = load_model(imported.folder)
    model.new_decoder(model.config.window.spec(fast=True))  # its windows fit its frames
    model.new_decoder(model.config.window.spec(fast=False))
    card = (imported.folder / "README.md").read_text(encoding="utf-8")
    assert card.startswith(f"# {name}\n")
    assert ORIGINS[name.replace("-", "_")].home in card
    assert N_PARAMETERS.get(name, "parameters") in card
    assert ORIGINS[name.replace("-", "_")].hears in " ".join(card.split())
    assert ("their program takes the first" in " ".join(card.split())) == (name == "hcqt-hppnet")
    assert max(map(len, card.splitlines())) < 140
    states = {entry.name: entry.state for entry in list_models()}
    assert states[name] == "imported"


def test_every_origin_is_tested():
    assert {name.replace("-", "_") for name in CHECKPOINTS} == ORIGINS.keys()


def test_published_weights_get_the_settings_of_the_shipped_model(shared_data, data):
    path = shared_data / "weights" / "hppnet-tiny-498000.pt"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    imported = import_checkpoint(path, "tiny")
    found, shipped = read_config(imported.folder), read_config(shipped_folder() / "hppnet-tiny")
    for table in ("network", "front_end", "window", "decoder"):
        assert getattr(found, table) == getattr(shipped, table)
    assert found.model_id == "tiny 7a1835fa"
    assert "151,172 parameters" in (imported.folder / "README.md").read_text()


def test_cards_of_shipped_models_say_where_the_whole_window_is_heard():
    folders = [path.parent for path in shipped_folder().glob("*/model.toml")]
    architectures = {folder: read_config(folder).network["architecture"] for folder in folders}
    concerned = [folder for folder in folders if architectures[folder] in HEAR_WHOLE_WINDOWS]
    assert len(concerned) >= 2
    for folder in concerned:
        card = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
        assert "Its answer depends on the whole window" in card
        assert "`model.toml` fixes the length" in card


def test_transkun_gets_the_settings_of_the_shipped_model():
    """With the published sizes of tensors; those that tell nothing are left out."""
    shipped = read_config(shipped_folder() / "transkun-v2")
    tensors = {
        "network.stem.input.weight": torch.zeros(64, 6, 3, 3),
        "network.velocity_head.hidden.weight": torch.zeros(512, 768),
    }
    for layer in range(6):
        tensors[f"network.blocks.{layer}.time_ffn.expand.weight"] = torch.zeros(1024, 256)
    extractor = f"{PREFIX}.spectrogramExtractor"
    saved = {
        f"{extractor}.win": torch.zeros(4096),
        f"{PREFIX}.freq2mels": torch.zeros(2049, 229),
        f"{extractor}.winGen.center": torch.zeros(5),
    }
    settings = ORIGINS["transkun"].describe(tensors, saved, {})
    assert settings.window == shipped.window
    assert settings.tables() == {
        name: getattr(shipped, name) for name in ("network", "front_end", "decoder")
    }


@pytest.mark.parametrize(
    ("window_samples", "options", "latency"),
    [
        (2048, {}, 0.160),
        (1024, {"label_shift_frames": 3}, 0.032),
        (1024, {"hop_samples": 256}, 0.080),
    ],
)
def test_what_a_checkpoint_does_not_state_is_an_option(tmp_path, window_samples, options, latency):
    torch.save(as_module(autoregressive(window_samples)), tmp_path / "model.pt")
    imported = import_checkpoint(tmp_path / "model.pt", options=options)
    model = load_model(imported.folder)
    assert model.config.front_end["window_samples"] == window_samples
    assert latency_s(model) == pytest.approx(latency)
    stated = {"hop_samples": 512, "label_shift_frames": 0, **options}
    card = (imported.folder / "README.md").read_text()
    assert all(f"- `{key}` = {value}" in card for key, value in stated.items())


def test_the_live_programs_decoding_goes_with_its_checkpoints(tmp_path):
    state = autoregressive()
    boosts = []
    for name, saved in {
        "online": {"model_state_dict": state, "model_complexity_conv": 2},
        "low-latency": as_module(state),
    }.items():
        torch.save(saved, tmp_path / "model.pt")
        folder = import_checkpoint(tmp_path / "model.pt", name).folder
        boosts.append(read_config(folder).decoder["onset_boost"])
    assert boosts == [2.0, 1.0]


def test_other_precisions_are_stored_as_float32(tmp_path):
    state = {k: v.double() for k, v in stored_onsets_and_frames().items()}
    torch.save(state, tmp_path / "model.pt")
    network = load_model(import_checkpoint(tmp_path / "model.pt").folder).network
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def stored_onsets_and_frames():
    return filled_state(stored_shapes("onsets_and_frames"))


def test_the_nearest_origin_is_named_with_what_is_missing(tmp_path, data):
    state = stored_onsets_and_frames()
    for name in [n for n in state if n.startswith("velocity_stack.1.")]:
        state[f"{name}.renamed"] = state.pop(name)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ModelError) as caught:
        import_checkpoint(tmp_path / "model.pt")
    first, *rest = str(caught.value).splitlines()
    assert first.endswith(
        "model.pt is not recognised; nearest is Onsets and Frames (Jongwook Kim's program), "
        "of whose 126 tensors it holds 124"
    )
    assert rest == [
        "  missing: velocity_stack.1.bias",
        "  missing: velocity_stack.1.weight",
        "  unexpected: velocity_stack.1.bias.renamed",
        "  unexpected: velocity_stack.1.weight.renamed",
    ]
    assert not data.exists()


def test_many_differences_are_counted(tmp_path):
    state = {k: v for k, v in stored_onsets_and_frames().items() if "offset" not in k}
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ModelError) as caught:
        import_checkpoint(tmp_path / "model.pt")
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    n_missing = sum("offset" in name for name in stored_onsets_and_frames())
    assert lines[-1] == f"  and {n_missing - 4} more"


@pytest.mark.parametrize("saved", [{"epoch": 3}, [1, 2], {"weight": torch.zeros(2)}])
def test_what_has_nothing_in_common_with_any_origin_is_said_to(tmp_path, saved):
    torch.save(saved, tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"no tensors of any network that is known: .*HPPNet"):
        import_checkpoint(tmp_path / "model.pt")


def test_tensors_that_do_not_fit_one_another_are_named(tmp_path, data):
    state = stored_onsets_and_frames()
    state["velocity_stack.1.weight"] = torch.zeros(87, 32)
    torch.save(state, tmp_path / "model.pt")
    message = r"is Onsets and Frames.*network.velocity.output.weight is \(87, 32\), not \(88, 32\)"
    with pytest.raises(ModelError, match=message):
        import_checkpoint(tmp_path / "model.pt")
    assert not data.exists()


def test_impossible_sizes_are_refused(tmp_path):
    state = autoregressive()
    state["acoustic_model.cnn.0.weight"] = torch.zeros(2, 1, 5, 3)
    torch.save(as_module(state), tmp_path / "model.pt")
    with pytest.raises(ModelError, match=r"of impossible sizes: time_kernels must each be 1 or 3"):
        import_checkpoint(tmp_path / "model.pt")
    state["acoustic_model.cnn.0.weight"] = torch.zeros(2)
    torch.save(as_module(state), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="of impossible sizes"):
        import_checkpoint(tmp_path / "model.pt")


def test_a_size_that_a_tensor_claims_takes_no_memory(tmp_path):
    """A bias of a million numbers would stand for a layer of four terabytes."""
    state = autoregressive()
    state["language_post.0.weight"] = torch.zeros(1, 16 << 20)
    torch.save(as_module(state), tmp_path / "model.pt")
    with pytest.raises(ModelError, match="its tensors do not fit"):
        import_checkpoint(tmp_path / "model.pt")


def test_names_that_are_taken_or_impossible_are_refused(tmp_path, data):
    torch.save(autoregressive(), tmp_path / "model.pt")
    import_checkpoint(tmp_path / "model.pt", "mine")
    for name in ("mine", "transkun-v2"):
        with pytest.raises(UsageError, match=f"there is a model {name} already"):
            import_checkpoint(tmp_path / "model.pt", name)
    for name in ("a/b", "..", "", "-x"):
        with pytest.raises(UsageError, match="cannot be called that"):
            import_checkpoint(tmp_path / "model.pt", name)
    assert [path.name for path in data.iterdir()] == ["mine"]


def test_an_option_of_another_origin_is_refused(tmp_path):
    torch.save(stored_onsets_and_frames(), tmp_path / "model.pt")
    with pytest.raises(UsageError, match="--hop-samples has no meaning here"):
        import_checkpoint(tmp_path / "model.pt", options={"hop_samples": 256})


def test_likeness_counts_what_both_have():
    expected = Expected(frozenset("abcd"), frozenset("xy"))
    assert expected.likeness("abcd") == expected.likeness("abcdx") == 1
    assert expected.likeness("abcz") == pytest.approx(3 / 5)
    assert expected.likeness("z") == expected.likeness("") == 0
