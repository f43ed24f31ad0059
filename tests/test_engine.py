"""The engine with a model whose answers can be checked on paper (``toy.py``)."""

import os
import platform
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from toy import RATE_HZ, toy_model

from amtcli.devices import is_out_of_memory
from amtcli.engine import Engine, EngineOptions
from amtcli.errors import AmtError, AudioError, UsageError
from amtcli.reading import Recording


def clicks(n_samples, *at):
    audio = np.full(n_samples, 0.25, np.float32)
    audio[list(at)] = 1
    return audio


def recording(key, audio):
    return Recording(key, audio, RATE_HZ)


def onsets(result):
    return [round(n.onset_s * RATE_HZ) for n in result.performance.notes if n.pitch == 60]


def run(monkeypatch, recordings, memory=1000, notices=None, **options):
    model = toy_model(monkeypatch, memory)
    on_notice = None if notices is None else notices.append
    engine = Engine(model, EngineOptions(device="cpu", **options), on_notice)
    return {r.recording.key: r for r in engine.transcribe(recordings)}, model.network


def test_every_sample_is_answered_exactly_once(monkeypatch):
    at = [0, 39, 40, 59, 60, 99, 100, 119, 120, 777, 999]
    results, _ = run(monkeypatch, [recording("a", clicks(1000, *at))])
    assert onsets(results["a"]) == at


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 64])
def test_results_depend_on_neither_batch_size_nor_neighbours(monkeypatch, batch_size):
    random = np.random.default_rng(1)
    audio = {f"r{i}": clicks(n, *random.choice(n, 5, replace=False))
             for i, n in enumerate([1000, 5, 321, 60, 100, 2000])}  # fmt: skip
    together, network = run(
        monkeypatch, [recording(k, a) for k, a in audio.items()], batch_size=batch_size
    )
    assert max(network.batch_sizes) == min(batch_size, sum(network.batch_sizes))
    for key, samples in audio.items():
        alone, _ = run(monkeypatch, [recording(key, samples)], batch_size=1)
        assert together[key].performance == alone[key].performance
        assert onsets(together[key]) == list(np.flatnonzero(samples == 1))


def test_windows_of_different_recordings_share_a_batch(monkeypatch):
    short = [recording(f"r{i}", clicks(30, i)) for i in range(8)]  # 1 window with sound each
    results, network = run(monkeypatch, short, batch_size=4)
    assert network.batch_sizes == [4, 4]
    assert [onsets(results[f"r{i}"]) for i in range(8)] == [[i] for i in range(8)]


def test_silent_windows_reach_the_decoder_without_being_computed(monkeypatch):
    audio = np.zeros(1000, np.float32)
    audio[465] = 1
    results, network = run(monkeypatch, [recording("a", audio)])
    assert onsets(results["a"]) == [465]
    assert sum(network.batch_sizes) == 2  # windows 7 (400-499) and 8 (460-559)
    (last,) = (note for note in results["a"].performance.notes if note.pitch == 127)
    assert last.offset_s == 18  # the decoder saw all 18 windows


def test_silence_does_not_pile_up(monkeypatch):
    engine = Engine(toy_model(monkeypatch), EngineOptions(device="cpu", batch_size=2))
    sizes = []
    compute = engine._compute
    monkeypatch.setattr(
        engine, "_compute", lambda batch, jobs: sizes.append(len(batch)) or compute(batch, jobs)
    )
    audio = np.zeros(60 * 100, np.float32)  # 101 windows
    audio[5999] = 1
    (result,) = engine.transcribe([recording("a", audio)])
    assert onsets(result) == [5999]
    assert max(sizes) == 8


def test_a_batch_that_does_not_fit_is_halved_and_stays_so(monkeypatch):
    notices = []
    audio = clicks(1000, 3, 500, 998)
    results, network = run(
        monkeypatch, [recording("a", audio)], memory=2, notices=notices, batch_size=8
    )
    assert onsets(results["a"]) == [3, 500, 998]
    assert max(network.batch_sizes) == 2
    assert notices == ["memory ran out on cpu: batches of 2 from now on"]


def test_a_window_that_does_not_fit_is_an_error_that_says_what_to_do(monkeypatch):
    with pytest.raises(AmtError, match=r"not enough memory for one window.*--device cpu"):
        run(monkeypatch, [recording("a", clicks(100, 3))], memory=0)


def test_what_the_allocator_says_is_known():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(10**15)
    assert is_out_of_memory(refused.value)


def test_other_failures_of_the_network_are_not_taken_for_lack_of_memory(monkeypatch):
    model = toy_model(monkeypatch)
    monkeypatch.setattr(model.network, "activations", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(Engine(model, EngineOptions(device="cpu")).transcribe([recording("a", clicks(9, 1))]))


def test_an_unreadable_recording_is_reported_and_the_rest_goes_on(monkeypatch, tmp_path):
    results, _ = run(
        monkeypatch,
        [recording("a", clicks(100, 7)), Recording("b", tmp_path / "none.wav"),
         recording("c", clicks(100, 8))],
    )  # fmt: skip
    assert onsets(results["a"]) == [7] and onsets(results["c"]) == [8]
    assert results["b"].performance is None
    assert type(results["b"].error) is AudioError
    assert str(results["b"].error) == "b: no such file; check the path"


def test_recordings_are_asked_for_only_when_there_is_room(monkeypatch):
    asked = []

    def recordings():
        for i in range(100):
            asked.append(i)
            yield recording(f"r{i}", clicks(500, i))

    engine = Engine(toy_model(monkeypatch), EngineOptions(device="cpu"))
    results = engine.transcribe(recordings())
    next(results)
    assert len(asked) < 20
    results.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decoder")]


def test_a_result_does_not_wait_for_the_next_recording(monkeypatch):
    wanted, came_late = threading.Event(), []

    def recordings():
        yield recording("a", clicks(100, 7))
        came_late.append(not wanted.wait(20))
        yield recording("b", clicks(100, 7))

    results = Engine(toy_model(monkeypatch), EngineOptions(device="cpu")).transcribe(recordings())
    assert next(results).recording.key == "a"
    wanted.set()
    assert [result.recording.key for result in results] == ["b"]
    assert came_late == [False]


def test_progress_ends_at_the_length_of_each_recording(monkeypatch):
    seen = {}
    engine = Engine(toy_model(monkeypatch), EngineOptions(device="cpu"))
    recordings = [recording("a", clicks(1000, 1)), recording("b", clicks(500, 1))]
    list(engine.transcribe(recordings, lambda p: seen.setdefault(p.recording.key, []).append(p)))
    assert seen["a"][-1].done_s == pytest.approx(1.0) and seen["b"][-1].done_s == pytest.approx(0.5)
    for reports in seen.values():
        done = [p.done_s for p in reports]
        assert done == sorted(done) and len(done) > 5


def test_timings_count_the_audio_of_the_recording_alone(monkeypatch):
    results, _ = run(monkeypatch, [recording("a", clicks(1000, 1)), recording("b", clicks(70, 1))])
    assert results["a"].timings.audio_s == pytest.approx(1.0)
    assert results["b"].timings.audio_s == pytest.approx(0.07)


def test_unknown_precision_and_device_are_refused(monkeypatch):
    with pytest.raises(UsageError, match=r"--precision half is unknown.*float32"):
        Engine(toy_model(monkeypatch), EngineOptions(device="cpu", precision="half"))
    with pytest.raises(UsageError, match=r"--precision int8: toy.* in float32, bf16$"):
        Engine(toy_model(monkeypatch), EngineOptions(device="cpu", precision="int8"))
    with pytest.raises(UsageError, match=r"--device abacus is unknown; choose auto"):
        Engine(toy_model(monkeypatch), EngineOptions(device="abacus"))


@pytest.mark.parametrize(
    ("precision", "fast", "fast_at_bf16", "expected"),
    [
        ("auto", False, True, "float32"),  # the toy does not vouch for bf16
        ("auto", True, True, "bf16"),
        ("auto", True, False, "float32"),
        ("float32", True, True, "float32"),
        ("bf16", False, False, "bf16"),
    ],
)
def test_precision_follows_request_model_and_device(
    monkeypatch, precision, fast, fast_at_bf16, expected
):
    monkeypatch.setattr("amtcli.devices.is_fast_at_bf16", lambda _: fast_at_bf16)
    options = EngineOptions(device="cpu", precision=precision, fast=fast)
    engine = Engine(toy_model(monkeypatch), options)
    assert engine.precision == expected
    assert engine.window.hop_samples == (100 if fast else 60)


def test_each_recording_may_have_a_decoder_of_its_own(monkeypatch):
    class Counter:
        def __init__(self):
            self.n_fed = 0

        def feed(self, activations):
            self.n_fed += 1
            return []

        def close(self):
            return []

    counters = {"a": Counter(), "b": Counter()}
    engine = Engine(toy_model(monkeypatch), EngineOptions(device="cpu", batch_size=3))
    recordings = [recording("a", clicks(1000, 5)), recording("b", clicks(30, 5))]
    results = list(engine.transcribe(recordings, decoder_for=lambda r: counters[r.key]))
    assert {key: counter.n_fed for key, counter in counters.items()} == {"a": 18, "b": 2}
    assert [r.performance.notes for r in results] == [(), ()]


def resident_bytes():
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is given back is glibc's")
def test_holes_in_the_heap_are_given_back_while_a_recording_lasts(monkeypatch):
    blocks = [np.ones(10_000, np.float64) for _ in range(2000)]  # 160 MB, too small for mmap
    kept = blocks[::20]
    del blocks
    before = resident_bytes()
    run(monkeypatch, [recording("a", clicks(60 * 20, 5))])  # 21 windows
    assert before - resident_bytes() > 100e6
    assert sum(block.sum() for block in kept) == 100 * 10_000
