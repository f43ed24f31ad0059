import io
import os
import sys
import tempfile
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import soxr

from amtcli.audio import AUDIO_SUFFIXES, open_audio
from amtcli.errors import AudioError


def tone(duration_s, rate_hz, n_channels=1):
    """A different tone in each channel, (channels, samples)."""
    times_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    pitches_hz = 220 * (1 + np.arange(n_channels))
    return (0.5 * np.sin(2 * np.pi * pitches_hz[:, None] * times_s)).astype(np.float32)


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(-0.5, 0.5, shape).astype(np.float32)


def write(path, samples, rate_hz, subtype=None, format=None):
    sf.write(path, np.atleast_2d(samples).T, rate_hz, subtype=subtype, format=format)
    return path


def read(source, rate_hz, **options):
    """All samples, (channels, samples), and the exhausted stream."""
    with open_audio(source, rate_hz, **options) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_full_scale_is_one_in_every_width(tmp_path, subtype):
    expected = np.array([[-1.0, -0.5, 0.0, 0.25, 0.5]])
    path = write(tmp_path / "a.wav", expected, 44100, subtype)
    samples, stream = read(path, 44100)
    np.testing.assert_array_equal(samples, expected)
    assert samples.dtype == np.float32
    assert stream.warnings == ()


@pytest.mark.parametrize(
    ("rate_hz", "n_channels"), [(4000, 1), (11025, 2), (44100, 8), (96000, 6), (384000, 3)]
)
def test_equal_rates_are_bit_exact(tmp_path, rate_hz, n_channels):
    written = noise((n_channels, round(4.3 * rate_hz)))
    path = write(tmp_path / "a.wav", written, rate_hz, "FLOAT")
    samples, stream = read(path, rate_hz)
    np.testing.assert_array_equal(samples, written)
    assert (stream.source_rate_hz, stream.rate_hz) == (rate_hz, rate_hz)
    assert stream.n_channels == n_channels
    assert stream.duration_s == written.shape[1] / rate_hz == stream.expected_duration_s


def test_more_than_eight_channels_are_kept(tmp_path):
    written = noise((24, 1000))
    samples, _ = read(write(tmp_path / "a.wav", written, 44100, "FLOAT"), 44100)
    np.testing.assert_array_equal(samples, written)


@pytest.mark.parametrize("rate_hz", [16000, 48000, 22050])
@pytest.mark.parametrize("n_channels", [1, 2])
def test_streamed_resampling_equals_one_shot(tmp_path, rate_hz, n_channels):
    written = noise((n_channels, 7 * rate_hz + 137))
    path = write(tmp_path / "a.wav", written, rate_hz, "FLOAT")
    samples, stream = read(path, 44100)
    expected = soxr.resample(written.T.copy(), rate_hz, 44100, quality="HQ").T
    assert samples.shape == expected.shape
    np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6)
    assert stream.duration_s == written.shape[1] / rate_hz


@pytest.mark.parametrize("rate_hz", [44100, 16000])
def test_mono_is_the_average_of_the_channels(tmp_path, rate_hz):
    written = noise((3, 5 * 44100))
    path = write(tmp_path / "a.wav", written, 44100, "FLOAT")
    samples, stream = read(path, rate_hz, mono=True)
    expected = written.mean(axis=0)
    if rate_hz != 44100:
        expected = soxr.resample(expected, 44100, rate_hz, quality="HQ")
    assert stream.n_channels == 1
    np.testing.assert_allclose(samples, expected[None], rtol=0, atol=1e-6)


def test_blocks_are_seconds_long_and_contiguous(tmp_path):
    path = write(tmp_path / "a.wav", tone(9.5, 16000, 2), 16000)
    with open_audio(path, 44100) as stream:
        blocks = list(stream)
    lengths_s = [block.shape[1] / 44100 for block in blocks]
    assert all(1 < length_s < 10 for length_s in lengths_s[:-1])
    assert sum(lengths_s) == pytest.approx(9.5, abs=1e-4)
    assert all(block.flags.c_contiguous and block.dtype == np.float32 for block in blocks)


@pytest.mark.parametrize(
    ("name", "format", "subtype"),
    [
        ("a.flac", "FLAC", "PCM_24"),
        ("a.aiff", "AIFF", "PCM_16"),
        ("a.ogg", "OGG", "VORBIS"),
        ("a.opus", "OGG", "OPUS"),
        ("a.mp3", "MP3", "MPEG_LAYER_III"),
        ("a.caf", "CAF", "PCM_16"),
    ],
)
def test_formats_come_through_in_level_and_place(tmp_path, name, format, subtype):
    written = tone(3.0, 48000, 2)
    written[:, :48000] = 0
    path = write(tmp_path / name, written, 48000, subtype, format)
    assert path.suffix in AUDIO_SUFFIXES
    samples, stream = read(path, 48000)
    assert samples.shape == written.shape
    assert stream.warnings == ()
    # One sample of delay would leave an error of 0.016.
    error = np.sqrt(np.mean((samples - written)[:, 4800:] ** 2))
    assert error < 0.012


def test_block_wise_mp3_equals_the_whole(tmp_path):
    """soundfile's own seek after each block changes mp3 samples by up to 0.01."""
    path = write(tmp_path / "a.mp3", noise((2, 44100 * 13)), 44100)
    whole = sf.read(path, dtype="float32")[0].T
    samples, _ = read(path, 44100)
    np.testing.assert_array_equal(samples, whole)


@pytest.mark.parametrize("n_samples", [1, 882])
@pytest.mark.parametrize("rate_hz", [44100, 16000])
def test_very_short_recordings(tmp_path, n_samples, rate_hz):
    path = write(tmp_path / "a.wav", np.full((1, n_samples), 0.5), 44100)
    with open_audio(path, rate_hz) as stream:
        lengths = [block.shape[1] for block in stream]
    assert sum(lengths) == round(n_samples * rate_hz / 44100)
    assert stream.duration_s == n_samples / 44100
    assert stream.warnings == ()


def test_constant_and_silent_recordings(tmp_path):
    path = write(tmp_path / "a.wav", np.full((1, 44100), 0.25), 44100)
    assert set(np.unique(read(path, 44100)[0])) == {0.25}
    samples, stream = read(write(tmp_path / "b.wav", np.zeros((1, 44100)), 44100), 16000)
    assert samples.shape == (1, 16000)
    assert not samples.any()
    assert stream.warnings == ()


def test_nan_and_infinity_become_zero_and_are_counted(tmp_path):
    written = np.full((2, 3 * 8000), 0.5, np.float32)
    written[0, 5:8] = np.nan
    written[1, 20000] = np.inf
    written[1, 20001] = -np.inf
    path = write(tmp_path / "a.wav", written, 8000, "FLOAT")
    samples, stream = read(path, 8000)
    np.testing.assert_array_equal(samples, np.where(np.isfinite(written), written, 0))
    assert stream.warnings == ("5 samples were NaN or infinite and were set to 0",)
    resampled, _ = read(path, 16000)
    assert np.isfinite(resampled).all()


@pytest.mark.parametrize(
    "stem",
    [
        "a & b",
        'it\'s "quoted"',
        "emoji 🎹🎶",
        "絆",
        "x" * 246,
        b"\xff\xfe latin \xe9".decode("utf-8", "surrogateescape"),
    ],
    ids=["ampersand", "quotes", "emoji", "kanji", "long", "not-utf8"],
)
def test_odd_file_names(tmp_path, stem):
    path = tmp_path / f"{stem}.wav"
    buffer = io.BytesIO()
    sf.write(buffer, np.full(100, 0.5), 8000, format="WAV")
    try:
        path.write_bytes(buffer.getvalue())
    except (OSError, UnicodeError):
        pytest.skip("the file system does not take this name")
    samples, _ = read(path, 8000)
    np.testing.assert_array_equal(samples, np.full((1, 100), 0.5))


def wav_bytes(samples, rate_hz, data_size=None, subtype="PCM_16"):
    """A wav file; ``data_size`` replaces what its header says."""
    buffer = io.BytesIO()
    sf.write(buffer, np.atleast_2d(samples).T, rate_hz, format="WAV", subtype=subtype)
    data = bytearray(buffer.getvalue())
    if data_size is not None:
        at = data.index(b"data") + 4
        data[at : at + 4] = data_size.to_bytes(4, "little")
        data[4:8] = min(data_size + at - 4, 0xFFFFFFFF).to_bytes(4, "little")
    return bytes(data)


def through_a_pipe(data):
    reading, writing = os.pipe()

    def feed():
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(data)

    thread = threading.Thread(target=feed)
    thread.start()
    return os.fdopen(reading, "rb"), thread


@pytest.mark.parametrize("data_size", [None, 0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
def test_wav_through_a_pipe_with_any_stated_length(data_size):
    written = noise((2, 5 * 44100)).round(2)
    expected = np.round(written * 32768) / 32768
    pipe, thread = through_a_pipe(wav_bytes(expected, 44100, data_size))
    with pipe:
        samples, stream = read(pipe, 44100, name="<stdin>")
        assert not pipe.closed
    thread.join()
    np.testing.assert_array_equal(samples, expected)
    assert stream.warnings == ()


@pytest.mark.parametrize("format", ["FLAC", "MP3", "OGG"])
def test_other_formats_through_a_pipe(format):
    buffer = io.BytesIO()
    sf.write(buffer, tone(4, 44100).T, 44100, format=format)
    buffer.seek(0)
    expected = sf.read(buffer, dtype="float32")[0]
    pipe, thread = through_a_pipe(buffer.getvalue())
    with pipe:
        samples, _ = read(pipe, 44100)
    thread.join()
    np.testing.assert_array_equal(samples[0], expected)


def test_a_stream_is_read_from_where_it_stands():
    data = wav_bytes(np.full((1, 100), 0.5), 8000)
    stream = io.BytesIO(b"skipped" + data)
    stream.seek(7)
    assert read(stream, 8000)[0].shape == (1, 100)
    assert not stream.closed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_a_path_too(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    thread = threading.Thread(
        target=fifo.write_bytes, args=(wav_bytes(np.full((1, 100), 0.5), 8000),)
    )
    thread.start()
    samples, _ = read(fifo, 8000)
    thread.join()
    assert samples.shape == (1, 100)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("text.wav", b"Dear diary, no audio today.\n" * 50, "text.wav: is not audio"),
        ("empty.flac", b"", "empty.flac: is empty"),
        ("none.wav", wav_bytes(np.zeros((1, 0)), 44100), "none.wav: holds no audio samples"),
        ("binary.mp3", bytes(range(256)) * 40, "binary.mp3: is not audio"),
    ],
)
def test_what_is_no_audio_is_refused_on_opening(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError, match=message) as caught:
        open_audio(path, 44100)
    assert str(caught.value).count("\n") == 0


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(AudioError, match=r"nothing\.wav: no such file; check the path"):
        open_audio(tmp_path / "nothing.wav", 44100)
    with pytest.raises(AudioError, match="is a folder"):
        open_audio(tmp_path, 44100)
    with pytest.raises(AudioError, match="cannot be read"):
        open_audio(tmp_path / ("x" * 300 + ".wav"), 44100)


def test_an_unreadable_file_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", np.zeros((1, 10)), 44100)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioError, match=r"a\.wav: may not be read; check its access rights"):
        open_audio(path, 44100)


def test_a_failing_stream_is_refused():
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def read(self, n_bytes=-1):
            raise OSError(5, "Input/output error")

    with pytest.raises(AudioError, match=r"tape: cannot be read \(Input/output error\)"):
        open_audio(Broken(), 44100, name="tape")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_told_about(monkeypatch):
    monkeypatch.setattr(
        tempfile,
        "TemporaryFile",
        lambda **options: Path("/dev/full").open("r+b", **options),  # noqa: SIM115
    )
    data = wav_bytes(np.zeros((1, 44100)), 44100)
    with pytest.raises(AudioError, match="No space left on device"):
        open_audio(io.BytesIO(data), 44100)


@pytest.mark.parametrize("rate_hz", [7, 999, 900_000])
def test_absurd_sample_rates_are_refused(tmp_path, rate_hz):
    path = write(tmp_path / "a.wav", np.zeros((1, 100)), rate_hz)
    with pytest.raises(AudioError, match=f"sample rate of {rate_hz} Hz"):
        open_audio(path, 44100)


def test_errors_stay_on_one_printable_line(tmp_path):
    name = b"new\nline \xff.wav".decode("utf-8", "surrogateescape")
    with pytest.raises(AudioError, match=r"new\?line \?\.wav: no such file") as caught:
        open_audio(tmp_path / name, 44100)
    str(caught.value).encode("utf-8")


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.m4a", b"\0\0\0\x20ftypM4A " + bytes(100), "mp4/m4a"),
        ("a.bin", b"\x1a\x45\xdf\xa3" + bytes(100), "webm/matroska"),
        ("a.wma", bytes(100), "wma"),
        ("a.aac", b"\xff\xf1" + bytes(100), "aac"),
    ],
)
def test_without_pyav_the_error_names_format_and_remedy(tmp_path, monkeypatch, name, content, kind):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "amtcli.audio.av_decoder", raising=False)
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(AudioError) as caught:
        open_audio(path, 44100)
    assert f"{name}: to read {kind}, pip install 'amtcli[av]'" in str(caught.value)


def test_without_pyav_text_is_still_just_no_audio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "amtcli.audio.av_decoder", raising=False)
    path = tmp_path / "a.wav"
    path.write_text("no audio")
    with pytest.raises(AudioError, match="is not audio in a known format; convert it"):
        open_audio(path, 44100)


def test_a_stream_is_iterated_once(tmp_path):
    with open_audio(write(tmp_path / "a.wav", tone(1, 8000), 8000), 8000) as stream:
        list(stream)
        with pytest.raises(RuntimeError, match="iterated once"):
            iter(stream)


@pytest.fixture
def opened_files(monkeypatch):
    """All files that are opened by path or as temporary files from here on."""
    files = []

    def recorded(function):
        def opening(*args, **kwargs):
            files.append(function(*args, **kwargs))
            return files[-1]

        return opening

    monkeypatch.setattr(Path, "open", recorded(Path.open))
    monkeypatch.setattr(tempfile, "TemporaryFile", recorded(tempfile.TemporaryFile))
    return files


@pytest.mark.parametrize("is_path", [True, False])
def test_leaving_early_leaves_no_file_open(tmp_path, opened_files, is_path):
    path = write(tmp_path / "a.wav", tone(20, 8000), 8000)
    source = path if is_path else io.BytesIO(path.read_bytes())
    opened_files.clear()
    with open_audio(source, 16000) as stream:
        for _ in stream:
            break
        assert 0 < stream.duration_s < 20
    assert [file.closed for file in opened_files] == [True]

    opened_files.clear()
    for _ in open_audio(path, 16000):  # even without a with statement
        break
    assert [file.closed for file in opened_files] == [True]


def test_a_refused_file_is_closed(tmp_path, opened_files):
    path = tmp_path / "a.wav"
    path.write_text("no audio")
    opened_files.clear()
    with pytest.raises(AudioError):
        open_audio(path, 16000)
    assert [file.closed for file in opened_files] == [True]


def test_memory_does_not_grow_with_length(tmp_path):
    path = tmp_path / "a.wav"
    with sf.SoundFile(path, "w", 44100, 2) as file:
        for _ in range(150):
            file.write(np.zeros((44100, 2), np.float32))
    tracemalloc.start()
    with open_audio(path, 44100) as stream:
        n_samples = sum(block.shape[1] for block in stream)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert n_samples == 150 * 44100  # 53 MB as float32
    assert peak_bytes < 8e6
