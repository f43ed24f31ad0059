import io
import struct

import numpy as np
import pytest
import soundfile as sf

from amtcli.audio import open_audio
from amtcli.audio.soundfile_decoder import SoundfileDecoder
from amtcli.errors import AudioError

RATE_HZ = 44100


def noise(duration_s, n_channels=2, seed=0):
    shape = (n_channels, round(duration_s * RATE_HZ))
    return np.random.default_rng(seed).uniform(-0.3, 0.3, shape).astype(np.float32)


def write(path, samples, subtype=None):
    sf.write(path, samples.T, RATE_HZ, subtype=subtype)
    return path


def read(path):
    with open_audio(path, RATE_HZ) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


def cut(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def damage(path, n_bytes=3000):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + n_bytes] = np.random.default_rng(1).bytes(n_bytes)
    path.write_bytes(data)
    return path


def lost_s(stream):
    (warning,) = stream.warnings
    seconds, text = warning.split(" ", 1)
    assert text == "s could not be read: the file is cut off or damaged"
    return float(seconds)


@pytest.mark.parametrize("suffix", [".wav", ".aiff", ".w64", ".rf64", ".caf", ".au"])
def test_cut_pcm_keeps_what_is_there(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", noise(5.0), "PCM_24")
    whole, stream = read(path)
    assert stream.warnings == ()
    samples, stream = read(cut(path, 0.6))
    np.testing.assert_array_equal(samples, whole[:, : samples.shape[1]])
    assert stream.duration_s == pytest.approx(3.0, abs=0.01)
    assert stream.expected_duration_s == pytest.approx(5.0, abs=1e-3)
    assert lost_s(stream) == pytest.approx(2.0, abs=0.01)


def test_cut_alac_counts_its_packets(tmp_path):
    path = write(tmp_path / "a.caf", noise(5.0), "ALAC_16")
    whole, stream = read(path)
    assert stream.warnings == ()
    samples, stream = read(cut(path, 0.6))
    np.testing.assert_array_equal(samples, whole[:, : samples.shape[1]])
    assert stream.duration_s == pytest.approx(3.0, abs=4096 / RATE_HZ)
    assert stream.expected_duration_s == pytest.approx(5.0, abs=4096 / RATE_HZ)
    assert lost_s(stream) == pytest.approx(2.0, abs=2 * 4096 / RATE_HZ)


def test_caf_that_is_still_being_recorded(tmp_path):
    path = write(tmp_path / "a.caf", noise(2.0), "PCM_16")
    whole, _ = read(path)
    data = path.read_bytes()
    size_at = data.index(b"data") + 4
    path.write_bytes(data[:size_at] + b"\xff" * 8 + data[size_at + 8 :])
    with path.open("rb", buffering=0) as file:
        samples = np.concatenate(list(SoundfileDecoder(file, 2.0).blocks())).T
    np.testing.assert_array_equal(samples, whole)


def test_cut_flac_keeps_all_whole_frames(tmp_path):
    path = write(tmp_path / "a.flac", noise(5.0))
    whole, _ = read(path)
    samples, stream = read(cut(path, 0.6))
    n_read = samples.shape[1]
    np.testing.assert_array_equal(samples, whole[:, :n_read])
    assert 2.8 * RATE_HZ < n_read <= 3.0 * RATE_HZ
    assert lost_s(stream) == pytest.approx(5.0 - stream.duration_s, abs=0.01)


def test_damaged_flac_goes_on_in_place(tmp_path):
    path = write(tmp_path / "a.flac", noise(9.0))
    whole, _ = read(path)
    samples, stream = read(damage(damage(path), 2000))
    assert samples.shape == whole.shape
    differs = np.flatnonzero((samples != whole).any(axis=0))
    assert 4.3 * RATE_HZ < differs[0] < differs[-1] < 4.7 * RATE_HZ
    assert not samples[:, differs[0] : differs[-1] + 1].any()
    assert lost_s(stream) == pytest.approx(len(differs) / RATE_HZ, abs=0.02)
    assert lost_s(stream) < 2.1 * 4096 / RATE_HZ  # 3000 bytes are in two frames at most
    assert stream.duration_s == 9.0


def test_small_damage_in_flac_costs_little(tmp_path):
    """Its frames are much smaller than what the decoder has read ahead."""
    times_s = np.arange(9 * RATE_HZ) / RATE_HZ
    path = write(tmp_path / "a.flac", 0.02 * np.sin(2 * np.pi * 441 * times_s)[None])
    whole, _ = read(path)
    samples, stream = read(damage(path, 100))
    assert stream.duration_s == 9.0
    assert len(stream.warnings) == 1
    differs = np.flatnonzero(samples != whole)
    assert 0 < differs[-1] - differs[0] < 2 * 4096


def test_flac_damaged_at_its_beginning(tmp_path):
    path = write(tmp_path / "a.flac", noise(4.0))
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    first_frame = data.index(b"\xff\xf8")
    data[first_frame : first_frame + 40_000] = bytes(40_000)
    path.write_bytes(data)
    samples, stream = read(path)
    n_lost = round(lost_s(stream) * RATE_HZ)
    assert 0 < n_lost < RATE_HZ
    assert not samples[:, : n_lost - 500].any()
    np.testing.assert_array_equal(samples[:, n_lost + 500 :], whole[:, n_lost + 500 :])


def test_damage_longer_than_the_rest_ends_a_flac(tmp_path):
    path = write(tmp_path / "a.flac", noise(6.0))
    n_bytes = path.stat().st_size
    samples, stream = read(damage(path, n_bytes - n_bytes // 2))
    assert 2.8 * RATE_HZ < samples.shape[1] < 3.1 * RATE_HZ
    assert lost_s(stream) == pytest.approx(6.0 - stream.duration_s, abs=0.01)


def test_flac_of_unknown_length(tmp_path):
    """As encoders write it to pipes: no number of samples, no checksum."""
    path = write(tmp_path / "a.flac", noise(5.0))
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # STREAMINFO: the last 36 bits of bytes 18 to 25 count the samples
    data[22:26] = bytes(4)
    path.write_bytes(data)
    samples, stream = read(path)
    np.testing.assert_array_equal(samples, whole)
    assert stream.expected_duration_s is None
    assert stream.warnings == ()

    samples, stream = read(damage(path))
    assert samples.shape == whole.shape
    np.testing.assert_array_equal(samples[:, -RATE_HZ:], whole[:, -RATE_HZ:])
    assert 0 < lost_s(stream) < 0.3


def test_flac_without_one_good_frame(tmp_path):
    path = write(tmp_path / "a.flac", noise(1.0))
    data = path.read_bytes()
    path.write_bytes(data[:8000] + bytes(len(data) - 8000))
    data = path.read_bytes()
    first_frame = data.index(b"\xff\xf8")
    path.write_bytes(data[:first_frame] + bytes(len(data) - first_frame))
    with pytest.raises(AudioError, match=r"holds no audio samples \(1\.00 s could not be read"):
        open_audio(path, RATE_HZ)


def test_cut_mp3_tells_the_loss(tmp_path):
    path = write(tmp_path / "a.mp3", noise(5.0))
    whole, _ = read(path)
    samples, stream = read(cut(path, 0.6))
    assert stream.duration_s == pytest.approx(3.0, abs=0.1)
    n_sure = samples.shape[1] - 2 * 1152
    np.testing.assert_array_equal(samples[:, :n_sure], whole[:, :n_sure])
    assert lost_s(stream) == pytest.approx(5.0 - stream.duration_s, abs=0.02)


def test_cut_and_joined_mp3s_write_nothing_to_stderr(tmp_path, capfd):
    """libmpg123 would, where the length that the file states is not its own."""
    path = write(tmp_path / "a.mp3", noise(3.0))
    whole, _ = read(path)
    content = path.read_bytes()
    path.write_bytes(content[: 2 * len(content) // 3])
    samples, stream = read(path)
    n_sure = samples.shape[1] - 2 * 1152
    np.testing.assert_array_equal(samples[:, :n_sure], whole[:, :n_sure])
    assert stream.expected_duration_s == 3.0
    path.write_bytes(content + content)
    np.testing.assert_array_equal(read(path)[0], np.concatenate((whole, whole), axis=1))
    for tagged in (b"ID3\3\0\0\0\1\0\0" + bytes(1 << 14) + content, content + ape_tag(bytes(9000))):
        path.write_bytes(tagged)
        np.testing.assert_array_equal(read(path)[0], whole)
    assert capfd.readouterr().err == ""


def test_damaged_mp3_goes_on(tmp_path):
    path = write(tmp_path / "a.mp3", noise(8.0))
    whole, _ = read(path)
    samples, stream = read(damage(path, 5000))
    assert 7.5 * RATE_HZ < samples.shape[1] < 8.0 * RATE_HZ
    np.testing.assert_array_equal(samples[:, : 3 * RATE_HZ], whole[:, : 3 * RATE_HZ])
    assert holds(samples, whole[:, 7 * RATE_HZ :][:, :1000])
    assert lost_s(stream) == pytest.approx(8.0 - stream.duration_s, abs=0.02)


def holds(samples, excerpt):
    """Whether an excerpt is anywhere in some samples."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, excerpt.shape[1], axis=1)
    near = (np.abs(windows[:, :, 0] - excerpt[:, :1]) < 1e-6).all(axis=0)
    errors = np.abs(windows[:, near] - excerpt[:, None]).max(axis=(0, 2))
    return bool((errors < 1e-6).any())


def without_length(path):
    """Take the frame count out of an mp3, so that its first frame is one like all others."""
    data = bytearray(path.read_bytes())
    at = max(data.find(b"Xing", 0, 4096), data.find(b"Info", 0, 4096))
    data[at : at + 4] = bytes(4)
    path.write_bytes(data)
    return path


def test_mp3_without_frame_count_is_read_to_its_end(tmp_path):
    """Its first frame is silent and small, from which libsndfile alone infers a wrong length."""
    samples = noise(9.0)
    samples[:, : 3 * RATE_HZ] = 0
    path = tmp_path / "a.mp3"
    with sf.SoundFile(
        path, "w", RATE_HZ, 2, compression_level=0.5, bitrate_mode="VARIABLE"
    ) as file:
        file.write(samples.T)
    stated, stream = read(path)
    assert stream.expected_duration_s == 9.0
    unstated, stream = read(without_length(path))
    assert stream.expected_duration_s is None
    assert stream.warnings == ()
    # The encoder's delay and padding, and the frame of the count, are not taken off any more.
    assert 0 < unstated.shape[1] - stated.shape[1] <= 4 * 1152
    assert holds(unstated[:, -RATE_HZ:], stated[:, -RATE_HZ // 2 :][:, :1000])


@pytest.mark.parametrize("name", ["a.mp3", "a.ogg", "a.opus"])
def test_joined_streams_are_read_one_after_the_other(tmp_path, name):
    rate_hz = 48000
    first = noise(2.0)
    path, other = tmp_path / name, tmp_path / f"other-{name}"
    subtype = "OPUS" if name == "a.opus" else None
    for file, samples in ((path, first), (other, 0.5 * first)):
        sf.write(file, samples.T, rate_hz, subtype=subtype, format="OGG" if subtype else None)
    expected = [sf.read(file, dtype="float32")[0].T for file in (path, other)]
    path.write_bytes(path.read_bytes() + other.read_bytes())
    with open_audio(path, rate_hz) as stream:
        samples = np.concatenate(list(stream), axis=1)
    np.testing.assert_array_equal(samples, np.concatenate(expected, axis=1))
    assert stream.warnings == ()


def test_a_joined_stream_in_another_rate_is_left_out_with_a_warning(tmp_path):
    path, other = tmp_path / "a.ogg", tmp_path / "b.ogg"
    sf.write(path, noise(1.0).T, RATE_HZ)
    sf.write(other, noise(1.0).T, 32000)
    path.write_bytes(path.read_bytes() + other.read_bytes())
    samples, stream = read(path)
    assert samples.shape[1] == RATE_HZ
    assert stream.warnings == (
        "after 1.0 s the sample rate or the number of channels changes; what follows was not read",
    )


def ape_tag(content):
    size = (len(content) + 32).to_bytes(4, "little")
    ends = [
        b"APETAGEX" + bytes([0xD0, 7, 0, 0]) + size + bytes([1, 0, 0, 0, 0, 0, 0, flag]) + bytes(8)
        for flag in (0xA0, 0x80)
    ]
    return ends[0] + content + ends[1]


@pytest.mark.parametrize("is_stated", [True, False])
def test_tags_after_an_mp3_are_not_audio(tmp_path, is_stated):
    path = write(tmp_path / "a.mp3", noise(3.0))
    if not is_stated:
        without_length(path)
    whole, _ = read(path)
    audio = path.read_bytes()
    picture = audio[-30_000:]  # which looks like mp3, as by chance other pictures may
    path.write_bytes(audio + ape_tag(picture) + b"TAG" + b"x" * 125)
    samples, stream = read(path)
    np.testing.assert_array_equal(samples, whole)
    assert stream.warnings == ()


def test_a_frame_count_that_is_off_by_one_is_no_loss(tmp_path):
    path = write(tmp_path / "a.mp3", noise(3.0))
    data = bytearray(path.read_bytes())
    at = max(data.find(b"Xing", 0, 4096), data.find(b"Info", 0, 4096)) + 8
    for n_more, n_warnings in ((1, 0), (9, 1)):
        count = int.from_bytes(data[at : at + 4], "big") + n_more
        path.write_bytes(data[:at] + count.to_bytes(4, "big") + data[at + 4 :])
        assert len(read(path)[1].warnings) == n_warnings


def test_mp3_in_wav_has_no_length_to_trust(tmp_path):
    data = without_length(write(tmp_path / "a.mp3", noise(3.0))).read_bytes()
    kind = struct.pack("<HHIIHHHHIHHH", 0x55, 2, RATE_HZ, 20_000, 1, 0, 12, 1, 2, 1152, 1, 0)
    chunks = struct.pack("<4sI", b"fmt ", len(kind)) + kind
    chunks += struct.pack("<4sI", b"data", len(data)) + data
    path = tmp_path / "a.wav"
    path.write_bytes(struct.pack("<4sI4s", b"RIFF", 4 + len(chunks), b"WAVE") + chunks)
    assert sf.info(path).subtype == "MPEG_LAYER_III"
    assert sf.info(path).frames > 3.2 * RATE_HZ
    _, stream = read(path)
    assert stream.expected_duration_s is None
    assert stream.duration_s == pytest.approx(3.0, abs=0.1)
    assert stream.warnings == ()


def test_cut_ogg_is_told_from_a_whole_one(tmp_path):
    path = write(tmp_path / "a.ogg", noise(5.0))
    assert read(path)[1].warnings == ()
    samples, stream = read(cut(path, 0.6))
    assert 2.0 * RATE_HZ < samples.shape[1] < 3.5 * RATE_HZ
    assert stream.warnings == ("the file is cut off; how much is missing cannot be told",)


def test_damaged_ogg_goes_on_in_place(tmp_path):
    path = write(tmp_path / "a.ogg", noise(9.0))
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    for at in (len(data) // 3, len(data) // 2):
        data[at : at + 3000] = bytes(3000)
    path.write_bytes(data)
    samples, stream = read(path)
    assert samples.shape == whole.shape
    assert stream.duration_s == 9.0
    differs = (samples != whole).any(axis=0)
    assert not samples[:, differs].any()
    assert lost_s(stream) == pytest.approx(differs.sum() / RATE_HZ, abs=0.02)
    assert 0.2 < lost_s(stream) < 2.0
    assert np.abs(np.diff(np.flatnonzero(differs))).max() > RATE_HZ  # two stretches


@pytest.mark.parametrize("rate_hz", [16000, 48000])
def test_damaged_opus_goes_on_in_place(tmp_path, rate_hz):
    path = tmp_path / "a.opus"
    clicks = np.zeros(10 * rate_hz, np.float32)
    at = rate_hz * np.arange(1, 10, 2) + rate_hz // 2
    clicks[at] = 0.9
    sf.write(path, clicks, rate_hz, format="OGG", subtype="OPUS")
    with open_audio(damage(path, 100), rate_hz) as stream:
        samples = np.concatenate(list(stream), axis=1)[0]
    assert len(samples) == len(clicks)
    assert 0.9 < lost_s(stream) < 2.1  # its pages are a second long
    heard = [k for k in at if np.abs(samples[k - 500 : k + 500]).max() > 0.1]
    assert len(heard) >= 4
    near = [k - 500 + np.abs(samples[k - 500 : k + 500]).argmax() for k in heard]
    np.testing.assert_allclose(near, heard, atol=0.001 * rate_hz)


@pytest.mark.parametrize("suffix", [".ogg", ".opus"])
def test_ogg_that_is_damaged_behind_its_headers(tmp_path, suffix):
    """Of which libsndfile says nothing: to it, the stream begins later."""
    samples = 0.1 * noise(6.0, 1)[0]
    samples[5 * RATE_HZ] = 0.9
    path = tmp_path / f"a{suffix}"
    rate_hz = 48000 if suffix == ".opus" else RATE_HZ
    sf.write(path, samples, rate_hz, format="OGG", subtype="OPUS" if suffix == ".opus" else None)
    data = bytearray(path.read_bytes())
    first_audio = [at for at in range(len(data)) if data.startswith(b"OggS", at)][2]
    data[first_audio] ^= 1
    path.write_bytes(data)
    with open_audio(path, rate_hz) as stream:
        found = np.concatenate(list(stream), axis=1)[0]
    assert len(found) == len(samples)
    assert abs(int(np.abs(found).argmax()) - 5 * RATE_HZ) < 10
    assert 0.1 < lost_s(stream) < 2.0


def test_joined_ogg_streams_that_are_both_damaged(tmp_path):
    paths = [write(tmp_path / name, noise(4.0)) for name in ("a.ogg", "b.ogg")]
    whole = np.concatenate([read(path)[0] for path in paths], axis=1)
    paths[0].write_bytes(b"".join(damage(path).read_bytes() for path in paths))
    samples, stream = read(paths[0])
    assert samples.shape == whole.shape
    differs = (samples != whole).any(axis=0)
    assert not samples[:, differs].any()
    assert lost_s(stream) == pytest.approx(differs.sum() / RATE_HZ, abs=0.02)
    assert 0 < differs[: 4 * RATE_HZ].sum() < differs.sum()


@pytest.mark.parametrize("suffix", [".wav", ".rf64"])
def test_wav_whose_header_was_never_completed(tmp_path, suffix):
    path = write(tmp_path / f"a{suffix}", noise(3.0), "PCM_16")
    whole, _ = read(path)
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    if suffix == ".rf64":
        data[20:44] = bytes(24)  # the 64 bit sizes
    else:
        data[4:8] = data[at + 4 : at + 8] = bytes(4)
    path.write_bytes(data)
    assert sf.info(path).frames == 0
    samples, stream = read(path)
    np.testing.assert_array_equal(samples, whole)
    assert stream.expected_duration_s == 3.0


@pytest.mark.parametrize("stated", [5_000_000_000 % (1 << 32), 0xFFFFFFFF])
def test_wav_longer_than_its_header_can_state(tmp_path, stated):
    path = tmp_path / "a.wav"
    write(path, noise(0.0, 1), "PCM_16")
    data = bytearray(path.read_bytes())
    at = data.index(b"data")
    data[at + 4 : at + 8] = stated.to_bytes(4, "little")
    path.write_bytes(data[: at + 8])
    with path.open("r+b") as file:
        file.truncate(at + 8 + 5_000_000_000)  # a sparse file: it takes no place
    with open_audio(path, RATE_HZ) as stream:
        assert stream.expected_duration_s == 2_500_000_000 / RATE_HZ


def test_a_bad_sector_ends_the_reading(tmp_path, capfd):
    path = without_length(write(tmp_path / "a.mp3", noise(4.0)))
    whole, _ = read(path)
    half = path.stat().st_size // 2

    class BadSector(io.FileIO):
        def read(self, n_bytes=-1):
            if self.tell() + n_bytes > half and self.tell() < self.last_kilobyte:
                raise OSError(5, "Input/output error")
            return super().read(n_bytes)

        last_kilobyte = 2 * half - 1024

    with BadSector(path) as file:
        samples = np.concatenate(list(SoundfileDecoder(file, 0.5).blocks())).T
    assert 1.5 * RATE_HZ < samples.shape[1] < 2.5 * RATE_HZ
    n_sure = samples.shape[1] - 2 * 1152
    np.testing.assert_array_equal(samples[:, :n_sure], whole[:, :n_sure])
    assert "Traceback" not in capfd.readouterr().err


def test_the_file_stays_open_for_its_owner(tmp_path):
    path = write(tmp_path / "a.wav", noise(1.0))
    with path.open("rb", buffering=0) as file:
        decoder = SoundfileDecoder(file, 0.25)
        assert [block.shape for block in decoder.blocks()] == [(11025, 2)] * 4
        decoder.close()
        assert not file.closed
