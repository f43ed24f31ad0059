"""Live audio from a pipe: what comes is given out at once, and is what a recording gives."""

import io
import struct

import numpy as np
import pytest
import soundfile
from filled import audio

from amtcli.audio import open_audio
from amtcli.audio.pipe import RAW_FORMATS, PipeSource, live_blocks, open_wav
from amtcli.errors import AudioError

SAMPLES = audio(12345)


class Trickle(io.RawIOBase):
    """A pipe that gives few bytes at a time, whatever is asked for, and says how many were."""

    def __init__(self, data, step):
        self.data, self.step, self.asked = io.BytesIO(data), step, []

    def read(self, n_bytes=-1):
        assert n_bytes >= 0
        self.asked.append(n_bytes)
        return self.data.read(min(n_bytes, self.step))


def wav(samples, rate_hz=16000, subtype="PCM_16", **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, subtype, format="WAV", **options)
    return file.getvalue()


def everything(source, n_samples=512):
    blocks = []
    while len(block := source.read(n_samples)):
        assert len(block) <= n_samples
        blocks.append(block)
    return np.concatenate(blocks)


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(("name", "scale"), [("int16", 32767), ("float32", 1)])
def test_raw_samples_come_through(step, name, scale):
    stored = (SAMPLES * scale).astype("<i2" if name == "int16" else "<f4")
    pipe = Trickle(stored.tobytes() + b"x", step)  # cut off within a sample
    found = everything(PipeSource(pipe, 16000, RAW_FORMATS[name]))
    expected = stored / 32768 if name == "int16" else stored
    np.testing.assert_array_equal(found[:, 0], expected.astype(np.float32))
    assert max(pipe.asked) <= 512 * stored.itemsize  # no more than a hop is ever waited for


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_wav_samples_are_those_of_the_file(subtype):
    stereo = np.stack([SAMPLES, -0.5 * SAMPLES], axis=1)
    data = wav(stereo, 22050, subtype)
    source = open_wav(Trickle(data, 100), "pipe")
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32")
    assert source.rate_hz == 22050
    np.testing.assert_array_equal(everything(source), expected)


def test_extensible_headers_and_other_chunks_are_read():
    data = wav(SAMPLES, subtype="PCM_24")
    at = data.index(b"fmt ")
    _, n_channels, rate_hz, bytes_per_s, block, n_bits = struct.unpack(
        "<HHIIHH", data[at + 8 :][:16]
    )
    extensible = struct.pack(
        "<4sIHHIIHHHHIH14s", b"fmt ", 40, 0xFFFE, n_channels, rate_hz, bytes_per_s, block, n_bits,
        22, n_bits, 4, 1, bytes(14),
    )  # fmt: skip
    odd = struct.pack("<4sI", b"LIST", 100_001) + bytes(100_002)
    samples = data[data.index(b"data") :]
    source = open_wav(Trickle(data[:12] + odd + extensible + samples, 70_000), "pipe")
    np.testing.assert_allclose(everything(source)[:, 0], SAMPLES, atol=2**-23)


@pytest.mark.parametrize("stated", [0, 0x7FFFF000, 0x80000000, 0xFFFFFFFF])
def test_a_length_that_nobody_could_know_is_not_believed(stated):
    data = wav(SAMPLES)
    at = data.index(b"data") + 4
    data = data[:at] + struct.pack("<I", stated) + data[at + 4 :]
    assert len(everything(open_wav(io.BytesIO(data), "pipe"))) == len(SAMPLES)


def test_what_follows_the_samples_is_no_sound():
    data = wav(SAMPLES) + b"LIST" + bytes(range(200))
    assert len(everything(open_wav(io.BytesIO(data), "pipe"))) == len(SAMPLES)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is no wav stream; .*--raw-rate"),
        (b"fLaC" + bytes(100), "is no wav stream"),
        (wav(SAMPLES)[:30], "ends within its wav header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "its wav header does not describe its samples"),
        (wav(SAMPLES, subtype="ULAW"), "wav samples of kind 7 with 8 bits cannot be read live"),
    ],
)
def test_other_streams_are_refused(data, reason):
    with pytest.raises(AudioError, match=f"the pipe: {reason}"):
        open_wav(io.BytesIO(data), "the pipe")


def test_numbers_that_are_none_become_silence():
    data = np.array([0.5, np.nan, np.inf, -0.5], "<f4").tobytes()
    source = PipeSource(io.BytesIO(data), 16000, RAW_FORMATS["float32"])
    assert source.read(10)[:, 0].tolist() == [0.5, 0, 0, -0.5]


@pytest.mark.parametrize("rate_hz", [16000, 44100, 11025])
def test_live_samples_are_those_of_a_recording(tmp_path, rate_hz):
    data = wav(np.stack([SAMPLES, 0.3 * SAMPLES], axis=1), rate_hz)
    (tmp_path / "file.wav").write_bytes(data)
    with open_audio(tmp_path / "file.wav", 16000, mono=True) as stream:
        expected = np.concatenate(list(stream), axis=1)[0]
    blocks = list(live_blocks(open_wav(io.BytesIO(data), "pipe"), 16000, 512))
    np.testing.assert_array_equal(np.concatenate(blocks), expected)
    assert max(map(len, blocks)) < 2048


def test_resampling_keeps_little_back():
    """What has been read and not given out is 40 ms at most."""
    read = 0

    class Endless:
        rate_hz = 44100

        def read(self, n_samples):
            nonlocal read
            read += n_samples
            return np.zeros((n_samples, 1), np.float32)

    given_s = 0.0
    for count, block in enumerate(live_blocks(Endless(), 16000, 512)):
        given_s += len(block) / 16000
        assert read / 44100 - given_s < 0.042
        if count > 100:
            break


@pytest.mark.parametrize("rate_hz", [0, 10, 4_000_000_000])
def test_a_rate_that_no_recording_has_is_refused(rate_hz):
    data = bytearray(wav(SAMPLES))
    data[24:28] = struct.pack("<I", rate_hz)
    with pytest.raises(AudioError, match=f"pipe: its wav header says {rate_hz} Hz"):
        open_wav(io.BytesIO(data), "pipe")
