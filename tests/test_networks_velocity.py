"""Networks that hear velocities: against their authors' own, and where ours are right instead."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks.random_models import read_settings
from filled import audio
from torch import nn
from velocity_inputs import N_FRAMES, features, logits, rolls
from velocity_names import fill_as_theirs

from amtcli.decoders.score_velocities import (
    ScoreNotes,
    ScoreVelocitiesConfig,
    ScoreVelocityDecoder,
)
from amtcli.decoders.score_velocities import score_notes as scored_notes
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import ModelError
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model
from amtcli.networks.velocity.bilstm import BiLstm, BiLstmConfig
from amtcli.networks.velocity.direct import DirectConfig
from amtcli.networks.velocity.dual_gated import DualGated, DualGatedConfig
from amtcli.networks.velocity.dynest import DynestBranch, DynestBranchConfig
from amtcli.networks.velocity.film_unet import FilmUnet, FilmUnetConfig
from amtcli.networks.velocity.hppnet import HppnetBranch, HppnetBranchConfig
from amtcli.networks.velocity.hpt import HptBranch, HptBranchConfig
from amtcli.networks.velocity.note_editor import NoteEditor, NoteEditorConfig, RelativeTime
from amtcli.networks.velocity.score import Acoustic, ScoreRolls, score_rolls
from amtcli.networks.velocity.score_informed import ScoreInformed, ScoreInformedConfig
from amtcli.networks.velocity.scrr import Scrr, ScrrConfig
from amtcli.notes import Note, Performance
from amtcli.reading import Recording
from amtcli.training.recipe import find_recipe

PARITY = Path(__file__).parent / "data" / "parity" / "velocity.npz"
CONV = (48, 64, 96, 128)
HPT = HptBranchConfig(128, CONV, 768, 256, 0.01)
HPPNET = HppnetBranchConfig(128, 128)
DYNEST = DynestBranchConfig(128, 3)
PUBLISHED = NoteEditorConfig(128, 2, 4, 7, 0.1, 0.2, "none", "published", "published")
BILSTM = BiLstmConfig(("onset",), 256, 2, 0.1, "replace", 0.2)
DUAL_GATED = DualGatedConfig(("onset",), 48, 4, 0.2)
SCRR = ScrrConfig(("onset",), False, 48, (1, 2, 4, 8, 1, 2, 4, 8), 0.2)
FILM_UNET = FilmUnetConfig(True, 229, (16, 32, 64, 128), CONV, 1792, 768, 256, 0.01)
OURS = NoteEditorConfig(16, 2, 4, 7, 0.1, 0.2, "held", "relative", "masked")
READ_ONSETS = ScoreVelocitiesConfig(16000, 160, "onset", 0)
SMALL_HPT = HptBranchConfig(16, (4, 4), 16, 8, 0.01)


@pytest.fixture(scope="module")
def parity():
    return dict(np.load(PARITY))


def score(n_windows=2, n_frames=N_FRAMES):
    onset, frame = rolls(n_windows, n_frames)
    random = np.random.RandomState(3)
    held = onset * torch.from_numpy(random.rand(*onset.shape).astype(np.float32))
    return ScoreRolls(onset, frame, held)


def heard(n_windows=2, n_frames=N_FRAMES):
    given = logits(n_windows, n_frames)
    return Acoustic(torch.sigmoid(given), given)


# --- Against the authors. -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "config", "n_parameters"),
    [
        (HptBranch, HPT, 4_075_336),
        (HppnetBranch, HPPNET, 520_257),
        (HppnetBranch, replace(HPPNET, n_bins=352), 520_257),
        (DynestBranch, DYNEST, 13_299_288),
        (NoteEditor, PUBLISHED, 968_065),
        (NoteEditor, replace(PUBLISHED, feature="frame"), 968_193),
        (BiLstm, BILSTM, 2_510_936),
        (BiLstm, replace(BILSTM, conditions=("onset", "frame")), 2_691_160),
        (DualGated, DUAL_GATED, 34_515),
        (DualGated, replace(DUAL_GATED, conditions=("onset", "frame")), 34_659),
        (Scrr, SCRR, 24_345),
        (Scrr, replace(SCRR, conditions=("onset", "frame")), 25_113),
        (FilmUnet, FILM_UNET, 8_797_563),
        (FilmUnet, replace(FILM_UNET, score_informed=False), 8_700_859),
    ],
)
def test_sizes_are_the_published_ones(make, config, n_parameters):
    assert sum(parameter.numel() for parameter in make(config).parameters()) == n_parameters


@pytest.mark.parametrize(
    ("name", "kind", "make", "config", "n_bins"),
    [
        ("hpt", "hpt", HptBranch, HPT, 128),
        ("hppnet", "hppnet", HppnetBranch, HPPNET, 128),
        ("hppnet_cqt", "hppnet", HppnetBranch, replace(HPPNET, n_bins=352), 352),
        ("dynest", "dynest", DynestBranch, DYNEST, 128),
    ],
)
@torch.inference_mode()
def test_branches_hear_what_the_authors_hear(parity, name, kind, make, config, n_bins):
    answer = fill_as_theirs(make(config), kind)(features(1, n_bins))
    theirs = parity[name]
    scale = 1.0
    ours = answer.velocity
    if name == "dynest":  # of which logits are stored, up to thousands
        ours, scale = answer.logits, np.abs(theirs).max()
    np.testing.assert_allclose(ours[0].numpy() / scale, theirs / scale, rtol=0, atol=1e-5)
    torch.testing.assert_close(torch.sigmoid(answer.logits), answer.velocity)


@pytest.mark.parametrize(
    ("name", "kind", "make", "config"),
    [
        ("note_editor", "note_editor", NoteEditor, PUBLISHED),
        ("note_editor_frame", "note_editor", NoteEditor, replace(PUBLISHED, feature="frame")),
        ("bilstm", "bilstm", BiLstm, BILSTM),
        (
            "bilstm_change",
            "bilstm",
            BiLstm,
            replace(BILSTM, conditions=("onset", "exframe"), mode="change"),
        ),
        ("dual_gated", "dual_gated", DualGated, replace(DUAL_GATED, conditions=("onset", "frame"))),
        ("scrr", "scrr", Scrr, replace(SCRR, conditions=("onset", "frame"), hears_velocity=True)),
    ],
)
@torch.inference_mode()
def test_modules_correct_as_the_authors_do(parity, name, kind, make, config):
    module = fill_as_theirs(make(config), kind, name)
    ours = module(heard(), score()).numpy()
    np.testing.assert_allclose(ours, parity[name], rtol=0, atol=1e-5)
    assert np.abs(ours - heard().velocity.numpy()).max() > 0.05


@pytest.mark.parametrize(("name", "score_informed"), [("film_unet", True), ("unet", False)])
@torch.inference_mode()
def test_the_u_net_computes_what_the_authors_compute(parity, name, score_informed):
    network = fill_as_theirs(FilmUnet(replace(FILM_UNET, score_informed=score_informed)), name)
    ours = network(features(1, 229), score(1))
    np.testing.assert_allclose(ours[0].numpy(), parity[name], rtol=0, atol=1e-5)


# --- The note editor, where it is not the authors'. -----------------------------------------


def editor(config=OURS):
    torch.manual_seed(0)
    module = NoteEditor(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return module


def alone_and_beside(config):
    """The second window's velocities alone, and beside the first, which has more notes."""
    module = editor(config)
    given, told = heard(), score()
    assert told.onset[0].sum() > told.onset[1].sum() > 3
    both = module(given, told)[1]
    one = module(Acoustic(*(t[1:] for t in given)), ScoreRolls(*(t[1:] for t in told)))[0]
    return one, both


@torch.inference_mode()
def test_notes_do_not_hear_the_padding_of_their_neighbours():
    torch.testing.assert_close(*alone_and_beside(OURS), rtol=0, atol=1e-6)
    one, both = alone_and_beside(replace(OURS, padding="published"))
    assert (one - both).abs().max() > 1e-4


def moved(config):
    """Velocities of the same notes in a window, and in one that begins 20 frames earlier."""
    module = editor(config)
    given, told = heard(1), score(1)
    plain = module(given, told)
    later = module(
        Acoustic(*(nn.functional.pad(t, (0, 0, 20, 0)) for t in given)),
        ScoreRolls(*(nn.functional.pad(t, (0, 0, 20, 0)) for t in told)),
    )
    return plain, later[:, 20:]


@torch.inference_mode()
def test_notes_are_the_same_wherever_the_window_begins():
    torch.testing.assert_close(*moved(OURS), rtol=0, atol=1e-6)
    plain, later = moved(replace(OURS, positions="published"))
    assert (plain - later).abs().max() > 1e-2


@torch.inference_mode()
def test_time_between_notes_counts():
    module, given, told = editor(), heard(1, 200), score(1, 200)
    onset = torch.zeros_like(told.onset)
    onset[0, 10, [40, 44, 47]] = 1
    spread = onset.clone()
    spread[0, 10, 47], spread[0, 180, 47] = 0, 1
    given.velocity[:] = 0.5
    near, far = (
        module(given, told._replace(onset=roll, held=0.5 * roll)) for roll in (onset, spread)
    )
    assert (near[0, 10, 40] - far[0, 10, 40]).abs() > 1e-4


@torch.inference_mode()
def test_how_long_a_key_is_held_counts_and_the_published_feature_does_not():
    given, told = heard(), score()
    other = told._replace(held=told.onset - told.held)
    module = editor()
    assert (module(given, told) - module(given, other)).abs().max() > 1e-2
    published = [editor(replace(OURS, feature=name)) for name in ("frame", "exframe")]
    for module, value in zip(published, (1, 0), strict=True):
        at_onsets = told.condition(module._config.feature)[told.onset > 0]
        assert at_onsets.unique().tolist() == [value]


@torch.inference_mode()
def test_only_cells_of_onsets_are_edited_and_by_so_much_at_most():
    given, told = heard(), score()
    change = editor()(given, told) - given.velocity
    assert not change[told.onset == 0].any()
    assert 0.05 < change.abs().max() <= 0.2 + 1e-6


def test_a_window_without_notes_stays_as_heard_and_has_gradients():
    module, given = editor().train(), heard()
    nothing = ScoreRolls(*(torch.zeros_like(roll) for roll in score()))
    answer = module(given, nothing)
    assert torch.equal(answer, given.velocity)
    (answer.sum() + 0).backward()
    assert all(parameter.grad is not None for parameter in module.parameters())
    assert not any(parameter.grad.any() for parameter in module.parameters())


def test_biases_lie_on_lines_between_learnt_values():
    time = RelativeTime(1)
    with torch.no_grad():
        time.values[:] = torch.arange(21.0)
    bias = time(torch.tensor([[0.0, 1.0, 4.0, 5000.0]]))
    expected = 10 + torch.tensor([0, 1, np.log2(5), 10])
    torch.testing.assert_close(bias[0, 0, 0], expected.float())
    torch.testing.assert_close(bias[0, 0, :, 0], 20 - expected.float())


# --- What they are told, and the whole. -----------------------------------------------------


def notes(*rows):
    onset_s, offset_s, end_s, pitch = (np.array(column) for column in zip(*rows, strict=True))
    return ScoreNotes(onset_s, offset_s, end_s, pitch, np.full(len(pitch), 64))


def test_rolls_by_hand():
    told = score_rolls(
        notes(
            (0.014, 0.034, 0.05, 21),  # frames 1 to 5
            (-1.0, 0.5, 0.021, 22),  # began before: frames 0 to 2
            (0.08, 9.0, 9.0, 108),  # lasts on
            (0.09, 0.09, 0.09, 60),  # of no length
            (0.03, 0.05, 0.06, 109),  # off the keyboard
            (0.2, 0.3, 0.3, 50),  # later
        ),
        10,
        0.01,
    )
    assert np.argwhere(told["onset"]).tolist() == [[1, 0], [8, 87], [9, 39]]
    assert np.flatnonzero(told["frame"][:, 0]).tolist() == [1, 2, 3, 4, 5]
    assert np.flatnonzero(told["frame"][:, 1]).tolist() == [0, 1, 2]
    assert np.flatnonzero(told["frame"][:, 87]).tolist() == [8, 9]
    assert told["frame"].sum() == 5 + 3 + 2 + 1
    assert told["held"][1, 0] == pytest.approx(0.01)  # 20 ms of 2 s
    assert told["held"][8, 87] == 1
    assert np.count_nonzero(told["held"]) == 2


def informed(module, branch=SMALL_HPT):
    torch.manual_seed(0)
    return ScoreInformed(ScoreInformedConfig(branch, module))


@torch.inference_mode()
def test_the_branch_alone_needs_no_score_and_a_module_heeds_it():
    given = features(2, 16)
    alone = informed(DirectConfig()).eval()
    plain = alone(given)
    assert torch.equal(plain, alone(given, score()))
    module = informed(replace(DUAL_GATED, conditions=("exframe",), width=8)).eval()
    assert not torch.equal(module(given), module(given, score()))


@torch.inference_mode()
def test_rolls_may_be_one_frame_longer_than_the_features():
    network, told = informed(replace(BILSTM, width=8)).eval(), score()
    given = features(2, 16)[:, :-1]
    exact = network(given, ScoreRolls(*(roll[:, :-1] for roll in told)))
    assert torch.equal(network(given, told), exact)


@torch.inference_mode()
def test_bf16_changes_little():
    network = informed(OURS).eval()
    given, told = features(2, 16), score()
    network.prepare("float32")
    exact = np.stack(network.activations(given, told))
    network.prepare("bf16")
    rough = np.stack(network.activations(given, told))
    assert exact.dtype == rough.dtype == np.float32
    assert 0 < np.abs(exact - rough).max() < 0.01


@torch.inference_mode()
def test_frames_of_silence_around_a_recording_are_left_out():
    torch.manual_seed(0)
    branch = HppnetBranch(HppnetBranchConfig(352, 4)).eval()
    given = features(2, 352, 20)[:, None]
    whole = branch(given[:, :, 4:18])
    given[0, :, :4], given[0, :, 18:] = torch.nan, torch.nan
    silent = branch(given)
    torch.testing.assert_close(silent.velocity[0, 4:18], whole.velocity[0])
    assert silent.velocity[0, :4].unique().tolist() == [0.5]
    torch.testing.assert_close(silent.velocity[1], branch(given[1:]).velocity[0])


def small_model(folder):
    """A model folder of a recipe's settings, at a size that takes a test no time."""
    smaller = {
        "branch": {"kind": "hpt", **asdict(replace(SMALL_HPT, n_mels=128))},
        "module": {"kind": "note_editor", **asdict(OURS)},
    }
    config = read_settings(find_recipe("velocity-hpt"), smaller)
    torch.manual_seed(0)
    network = ScoreInformed(
        ScoreInformedConfig(replace(SMALL_HPT, n_mels=128), OURS),
    )
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    write_model(folder, config, tensors)
    return load_model(folder), network.eval()


def test_a_model_folder_holds_branch_and_module_and_transcribes_nothing(tmp_path):
    model, network = small_model(tmp_path / "model")
    given, told = features(1, 128, 40), score(1, 40)
    with torch.inference_mode():
        network.prepare("float32")
        model.network.eval().prepare("float32")
        ours = model.network.activations(given, told)[0]
        np.testing.assert_array_equal(ours, network.activations(given, told)[0])
    engine = Engine(model, EngineOptions(device="cpu"))
    with pytest.raises(ModelError, match="amt refine-velocity"):
        list(engine.transcribe([Recording("tones", audio(16000), 16000)]))


def test_velocities_of_a_recording_are_read_by_the_engine(tmp_path):
    """Without the score's rolls, which engines do not pass on, a window says what it hears."""
    model, network = small_model(tmp_path / "model")
    engine = Engine(model, EngineOptions(device="cpu"))
    played = scored_notes(Performance((Note(0.5, 0.7, 60, 1), Note(7.003, 7.5, 40, 1))))
    decoders = []

    def decoder_for(_):
        decoders.append(ScoreVelocityDecoder(READ_ONSETS, engine.window, played))
        return decoders[-1]

    samples = audio(12 * 16000)
    (result,) = engine.transcribe([Recording("tones", samples, 16000)], decoder_for=decoder_for)
    window = torch.from_numpy(samples[:160000])[None]
    with torch.inference_mode():
        velocities = network(model.front_end([window]))[0].numpy()
    expected = [velocities[50, 39] * 128, velocities[700, 19] * 128]
    np.testing.assert_allclose(decoders[0].velocities, expected, atol=1e-2)
    assert [note.velocity for note in result.performance.notes] == np.rint(expected).tolist()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: replace(OURS, n_heads=3), "n_heads"),
        (lambda: replace(OURS, kernel_tokens=4), "odd"),
        (lambda: replace(DUAL_GATED, conditions=()), "conditions"),
        (lambda: replace(SCRR, width=12), "multiple of 8"),
        (lambda: replace(SMALL_HPT, n_mels=3), "n_mels"),
        (lambda: replace(HPPNET, n_bins=3), "n_bins"),
        (lambda: replace(DYNEST, stride=0), "stride"),
        (lambda: replace(FILM_UNET, channels=(16,)), "channels"),
        (lambda: replace(FILM_UNET, n_mels=8), "halved"),
    ],
)
def test_impossible_sizes_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
