"""What the network hears, folding, halves of precision, learning, and a recording to notes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from amtcli.catalog import shipped_folder
from amtcli.devices import is_fast_at_int8
from amtcli.engine import Engine, EngineOptions
from amtcli.model_folder import load_model
from amtcli.networks import swift, swift_convolution
from amtcli.networks.swift import HEADS, PEDAL_HEADS, Swift, SwiftConfig
from amtcli.networks.swift_convolution import Convolution, Lookahead
from amtcli.networks.swift_layers import RELATIVES_SEMITONES, Exchange
from amtcli.reading import Recording
from amtcli.training.initial import grow

NEEDS_INT8 = pytest.mark.skipif(
    not is_fast_at_int8(torch.device("cpu")), reason="no fast int8 on this processor"
)
SMALL = SwiftConfig(
    n_spectra=2,
    bins_per_semitone=3,
    n_semitones=98,
    stem_channels=(4, 6),
    partials_semitones=(-12, 0, 12, 19, 24),
    n_channels=8,
    mix_channels=2,
    mix_width=12,
    dilations=(1, 2),
    exchange_after_blocks=(0,),
    pedal_width=8,
    max_lookahead_frames=100,
)


def network(config=SMALL):
    """Return a network whose every part has a say, in evaluation mode."""
    torch.manual_seed(0)
    built = Swift(config)
    for module in built.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
            torch.nn.init.normal_(module.running_mean, std=0.2)
    for output in (built.heads, built.pedal.output):
        torch.nn.init.normal_(output.weight, std=0.1)
    torch.nn.init.normal_(built.bin_offset)
    return built.eval()


@pytest.mark.parametrize("wider", [{"mix_channels": 4}, {"stem_channels": (4, 8)}])
def test_what_lies_in_rows_cannot_grow(wider):
    assert network().can_grow_from(network())
    assert not Swift(replace(SMALL, **wider)).can_grow_from(network())


def test_a_larger_network_says_the_same_as_the_one_it_grew_from():
    small = network()
    more = replace(
        SMALL,
        partials_semitones=(*SMALL.partials_semitones, 7, -19),
        n_channels=11,
        mix_width=16,
        pedal_width=9,
        dilations=(1, 2, 4, 1),
        exchange_after_blocks=(0, 2),
    )
    torch.manual_seed(1)
    large = Swift(more).eval()
    large.load_state_dict(grow(small.state_dict(), large.state_dict()))
    with torch.no_grad():
        wanted, found = small(features()), large(features())
    for head in (*HEADS, *PEDAL_HEADS, "level"):
        np.testing.assert_allclose(found[head], wanted[head], rtol=1e-6, atol=1e-5)
    # What is new must learn: nothing that leads to it is dead on both sides.
    sum(part.square().mean() for part in large.train()(features(batch=2)).values()).backward()
    assert large.heads.weight.grad[:, 8:].abs().max() > 0
    assert large.blocks[3].merge.norm.weight.grad.abs().max() > 0
    assert large.exchanges["2"].hear.merge.norm.weight.grad.abs().max() > 0
    assert large.partials.merge.convolution.weight.grad[:, 5 * 6 :].abs().max() > 0


def features(n_frames=60, batch=1):
    return 2 * torch.rand(batch, n_frames, 294, 2, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_heads_are_as_the_decoder_wants_them():
    logits = network()(features(20, batch=2))
    assert {head: tuple(logits[head].shape) for head in HEADS} == dict.fromkeys(HEADS, (2, 20, 88))
    assert {tuple(logits[head].shape) for head in PEDAL_HEADS} == {(2, 20, 1)}
    ours = network()
    first, second = ours.activations(features(20, batch=2))
    assert first.rows().shape == (20, 4 * 88 + 3)
    assert not np.array_equal(first.onset, second.onset)
    wanted = torch.sigmoid(logits["velocity"][1]).detach().numpy()
    np.testing.assert_allclose(second.velocity, wanted, rtol=0, atol=1e-6)


@torch.inference_mode()
def test_levels_are_those_of_the_first_spectrum_in_decibels():
    built = network()
    built.level_weight.fill_(0.5)
    sound = torch.zeros(1, 3, 294, 2)
    sound[:, 1:, :, 1] = 7.0
    sound[:, 1] += 1.0  # 20 dB more everywhere
    sound[:, 2, :147, 0] = 2.0  # 40 dB more in half of the bins
    (answer,) = built.activations(sound)
    half_db = 10 * np.log10((10**4 + 1) / 2)
    np.testing.assert_allclose(answer.level[:, 0], [0, 0.5, 0.5 * half_db / 20], atol=1e-5)


@pytest.mark.parametrize("limit", [0, 1, 3, 100])
def test_it_looks_ahead_as_far_as_it_says_and_no_further(limit):
    built = network(replace(SMALL, max_lookahead_frames=limit))
    assert built.lookahead_frames == min(limit, 1 + 1 + 1 + 2 + 1 + 2 + 2 + 6)
    frame, before = 30, features()
    changed = before.clone()
    changed[:, frame + built.lookahead_frames + 1 :] += 1.0
    with torch.inference_mode():
        answers = built(before), built(changed)
        for head in HEADS + PEDAL_HEADS:
            unmoved = [answer[head][0, : frame + 1] for answer in answers]
            assert torch.equal(*unmoved), head
        changed[:, frame + built.lookahead_frames] += 1.0
        pedals = [answer["pedal_frame"][0, frame] for answer in (answers[0], built(changed))]
    assert not torch.equal(*pedals)  # the pedal's layers come last, so they look furthest


def test_frames_handed_out_are_counted():
    lookahead = Lookahead(5)
    assert [lookahead.take(wanted) for wanted in (2, 0, 4, 1)] == [2, 0, 3, 0]
    assert lookahead.given == 5


@torch.inference_mode()
@pytest.mark.parametrize("prepared", [False, True])
def test_keys_exchange_what_they_have_made_out_with_those_they_share_partials_with(prepared):
    torch.manual_seed(3)
    exchange = Exchange(SMALL).eval()
    torch.nn.init.ones_(exchange.hear.merge.norm.weight)
    torch.nn.init.zeros_(exchange.spread.convolution.weight)  # tells all keys of all others
    if prepared:
        for module in exchange.modules():
            if isinstance(module, Convolution):
                module.fold(torch.float32)
    before = torch.rand(1, SMALL.n_channels, 70, 88)
    changed = before.clone()
    changed[:, :, 40, 30] += 1.0
    moved = (exchange(changed) - exchange(before)).abs().amax(dim=1)[0] > 1e-6
    assert moved.nonzero()[:, 0].unique().tolist() == [40]
    heard_by = [30 - interval for interval in RELATIVES_SEMITONES]
    assert moved[40].nonzero()[:, 0].tolist() == sorted(heard_by)


def test_an_exchange_after_no_block_is_refused():
    with pytest.raises(ValueError, match="there are blocks 0 to 1"):
        replace(SMALL, exchange_after_blocks=(2,))


def test_a_key_sounds_alike_wherever_it_lies_on_the_keyboard():
    config = replace(
        SMALL,
        mix_channels=1,
        n_semitones=140,
        partials_semitones=(0, 12, 19),
        exchange_after_blocks=(),
    )
    built = network(config)
    torch.nn.init.zeros_(built.bin_offset)
    torch.nn.init.zeros_(built.mix.widen.norm.weight)  # the one layer that knows keys apart
    torch.nn.init.zeros_(built.mix.widen.norm.bias)
    sound = torch.zeros(1, 20, 420, 2)
    sound[:, 8:12, [91, 127, 148]] = 3.0
    higher = sound.roll(3 * 7, dims=2)
    with torch.inference_mode():
        here, there = built(sound)["onset"], built(higher)["onset"]
    # Keys 20 to 60 are far enough from both edges of the bins.
    torch.testing.assert_close(here[..., 20:60], there[..., 27:67], rtol=0, atol=1e-4)
    assert float(here.std()) > 0.1


@torch.inference_mode()
@pytest.mark.parametrize("limit", [2, 100])
@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bf16", 0.06)])
def test_folding_changes_nothing_but_the_last_digits(
    monkeypatch, limit, fuses, precision, tolerance
):
    if not fuses:
        monkeypatch.setattr(swift_convolution, "_can_fuse", lambda weight: False)
    built = network(replace(SMALL, max_lookahead_frames=limit))
    (plain,) = built.activations(features())
    names = set(built.state_dict())
    built.prepare(precision)
    (folded,) = built.activations(features())
    assert set(built.state_dict()) == names
    assert 0 < np.abs(folded.rows() - plain.rows()).max() < tolerance
    assert folded.onset.dtype == np.float32


@pytest.mark.parametrize("precision", ["bf16", pytest.param("int8", marks=NEEDS_INT8)])
def test_training_goes_on_after_it_was_made_ready(precision):
    built, untouched = watched(network()), watched(network())
    built.prepare(precision)
    built.train()
    with torch.no_grad():
        assert torch.equal(built(features())["onset"], untouched.train()(features())["onset"])
    with torch.no_grad():
        before = built(features())["onset"]
        for module in built.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.mul_(1.5)
        assert not torch.equal(built(features())["onset"], before)
    assert before.dtype == torch.float32


def watched(built):
    """Show a network what it will be given, so that it knows its range; nothing else changes."""
    built.train()
    norms = [module for module in built.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.eval()
    with torch.no_grad():
        built(features())
    return built.eval()


def test_the_range_of_every_convolution_is_learnt():
    built = network()
    assert built.precisions == ("float32", "bf16")  # nothing is known of the range
    largest = []
    for layer in built.modules():
        if isinstance(layer, Convolution):
            layer.register_forward_hook(lambda layer, x, y: largest.append(y.max()))
    watched(built)
    by_hand = torch.stack(largest)  # in the order of computing
    torch.testing.assert_close(peaks(built).sort().values, by_hand.sort().values)
    assert built.precisions == ("float32", "bf16", "int8")
    before = peaks(built)
    built.train()
    with torch.no_grad():
        built(10 * features())
    assert ((peaks(built) > before) & (peaks(built) < 1.5 * before)).any()


def test_a_grown_network_knows_the_range_of_what_it_grew_from():
    small = watched(network())
    large = Swift(replace(SMALL, dilations=(1, 2, 4), exchange_after_blocks=(0, 2))).eval()
    large.load_state_dict(grow(small.state_dict(), large.state_dict()))
    known = {name: layer.peak for name, layer in small.named_modules() if has_peak(layer)}
    found = {name: layer.peak for name, layer in large.named_modules() if has_peak(layer)}
    assert {name: found[name] for name in known} == known
    assert {float(found[name]) for name in found.keys() - known.keys()} == {0.0}
    assert "int8" not in large.precisions


def has_peak(module):
    return isinstance(module, Convolution)


def peaks(built):
    return torch.stack([module.peak for module in built.modules() if has_peak(module)])


@NEEDS_INT8
@torch.inference_mode()
@pytest.mark.parametrize("limit", [2, 100])
def test_int8_says_nearly_the_same(monkeypatch, limit):
    # Unlike what is learnt, results of random weights are often near their peak.
    monkeypatch.setattr(swift, "COUNTED", 1.2)
    built = watched(network(replace(SMALL, max_lookahead_frames=limit)))
    exact = built(features(90, batch=2))
    built.prepare("int8")
    found = built(features(90, batch=2))
    assert torch.equal(found["level"], exact["level"])
    for name in HEADS + PEDAL_HEADS:
        error = (found[name] - exact[name]).square().mean() / exact[name].var()
        assert 0 < error < 0.05, name  # random weights forgive less than learnt ones


@NEEDS_INT8
@torch.inference_mode()
def test_int8_does_not_depend_on_where_it_is_cut():
    built = watched(network())
    built.prepare("int8")
    sound = features(200)
    whole, part = built(sound)["onset"], built(sound[:, 60:160])["onset"]
    assert torch.equal(whole[:, 100:120], part[:, 40:60])


@NEEDS_INT8
def test_int8_finds_the_notes_of_a_recording(demo_audio):
    recording = Recording("demo", demo_audio)
    found = {}
    for precision in ("auto", "float32"):
        model = load_model(shipped_folder() / "swift")
        engine = Engine(model, EngineOptions(device="cpu", precision=precision))
        (result,) = engine.transcribe([recording])
        found[engine.precision] = result.performance.notes
    assert set(found) == {"int8", "float32"}
    exact = {(note.pitch, round(note.onset_s, 1)): note for note in found["float32"]}
    same = [(n, exact[k]) for n in found["int8"] if (k := (n.pitch, round(n.onset_s, 1))) in exact]
    assert len(same) > 0.95 * max(map(len, found.values())) > 50
    assert max(abs(one.onset_s - other.onset_s) for one, other in same) < 0.02
    assert np.mean([abs(one.velocity - other.velocity) for one, other in same]) < 2


def test_it_learns_one_batch():
    torch.manual_seed(0)
    built = Swift(SMALL).train()
    sound, wanted = features(40, batch=2), (torch.rand(2, 40, 88) < 0.1).float()
    optimiser = torch.optim.Adam(built.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(built(sound)["onset"], wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * min(losses[0], 0.33)  # 0.33: what always the same answer costs


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"n_semitones": 87}, "88 keys"), ({"partials_semitones": (12,)}, "must hold 0")],
)
def test_settings_that_cannot_be_are_refused(change, problem):
    with pytest.raises(ValueError, match=problem):
        replace(SMALL, **change)
