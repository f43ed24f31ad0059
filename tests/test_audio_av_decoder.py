import numpy as np
import pytest

from amtcli.audio import AUDIO_SUFFIXES, open_audio
from amtcli.errors import AudioError

av = pytest.importorskip("av")

RATE_HZ = 48000


def tone(duration_s, n_channels=2):
    times_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    pitches_hz = 220 * (1 + np.arange(n_channels))
    return (0.5 * np.sin(2 * np.pi * pitches_hz[:, None] * times_s)).astype(np.float32)


def write(path, samples, codec, *, format=None, options=None, picture=False):
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        stream = container.add_stream(codec, rate=RATE_HZ, layout=layout)
        stream.bit_rate = 128_000
        video = container.add_stream("mpeg4", rate=25) if picture else None
        if video is not None:
            video.width = video.height = 64
        codec_format = stream.codec_context.format.name
        resampler = av.AudioResampler(codec_format, layout, RATE_HZ)
        for start in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, start : start + 1024])
            frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
            frame.sample_rate, frame.pts = RATE_HZ, start
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        container.mux(stream.encode(None))
        if video is not None:
            for _ in range(25):
                container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
            container.mux(video.encode(None))
    return path


def read(source, rate_hz=RATE_HZ, **options):
    with open_audio(source, rate_hz, **options) as stream:
        blocks = list(stream)
    return np.concatenate(blocks, axis=1), stream


def damage(path, n_bytes=1500):
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + n_bytes] = np.random.default_rng(2).bytes(n_bytes)
    path.write_bytes(data)
    return path


def lost_s(stream):
    (warning,) = stream.warnings
    return float(warning.removesuffix(" s could not be read: the file is cut off or damaged"))


@pytest.mark.parametrize(
    ("name", "codec", "n_padding", "n_dropped"),
    [
        ("a.m4a", "aac", 1024, 0),
        ("a.m4a", "alac", 0, 0),
        ("a.mp4", "aac", 1024, 0),
        ("a.wma", "wmav2", 2048, 2048),  # a frame, in FFmpeg's own program as well
        ("a.webm", "libopus", 960, 0),
        ("a.mka", "flac", 0, 0),
        ("a.mov", "pcm_s24le", 0, 0),
    ],
)
def test_formats_come_through_in_level_and_place(tmp_path, name, codec, n_padding, n_dropped):
    written = tone(3.0)
    path = write(tmp_path / name, written, codec)
    assert path.suffix in AUDIO_SUFFIXES
    samples, stream = read(path)
    assert stream.source_rate_hz == RATE_HZ
    assert abs(samples.shape[1] - written.shape[1]) <= n_padding
    assert stream.warnings == ()
    assert stream.expected_duration_s == pytest.approx(3.0, abs=0.06)
    expected = written[:, RATE_HZ:][:, :9600]
    errors = {
        shift: np.sqrt(np.mean((samples[:, RATE_HZ - shift :][:, :9600] - expected) ** 2))
        for shift in range(n_dropped - 40, n_dropped + 41, 8)
    }
    assert min(errors, key=errors.get) == n_dropped
    assert errors[n_dropped] < (0.05 if n_padding else 2**-15)


def test_blocks_are_seconds_long(tmp_path):
    path = write(tmp_path / "a.mka", tone(7.0), "flac")
    with open_audio(path, RATE_HZ) as stream:
        lengths = [block.shape[1] for block in stream]
    assert sum(lengths) == 7 * RATE_HZ
    assert all(RATE_HZ < length < 10 * RATE_HZ for length in lengths[:-1])


def test_a_stream_and_another_rate_and_mono(tmp_path):
    path = write(tmp_path / "a.m4a", tone(2.0), "aac")
    expected, _ = read(path, 16000, mono=True)
    with path.open("rb") as file:
        samples, stream = read(file, 16000, mono=True)
    np.testing.assert_array_equal(samples, expected)
    assert (samples.shape[0], stream.n_channels) == (1, 1)
    assert stream.duration_s == pytest.approx(2.0, abs=0.03)


def test_raw_aac_has_no_length_to_trust(tmp_path):
    path = write(tmp_path / "a.aac", tone(4.0), "aac", format="adts")
    _, stream = read(path)
    assert stream.duration_s == pytest.approx(4.0, abs=0.1)
    assert stream.warnings == ()


def test_pictures_beside_the_sound_are_passed_over(tmp_path):
    path = write(tmp_path / "a.mp4", tone(2.0), "aac", picture=True)
    samples, stream = read(path)
    assert samples.shape[1] == pytest.approx(2 * RATE_HZ, abs=1024)
    assert stream.warnings == ()


class Interrupted:
    """A container whose packets are interrupted by errors, which lose nothing."""

    def __init__(self, container, error, n_errors):
        self._container, self._error, self._n_left = container, error, n_errors

    def __getattr__(self, name):
        return getattr(self._container, name)

    def demux(self, track):
        for n_packets, packet in enumerate(self._container.demux(track), 1):
            yield packet
            if self._n_left and n_packets == 1:
                self._n_left -= 1
                raise self._error


@pytest.mark.parametrize(
    ("error", "n_warnings"),
    [
        (av.error.InvalidDataError(1094995529, "Invalid data"), 1),
        (OSError(5, "Input/output error"), 1),
        (IndexError("list index out of range"), 0),  # a track that begins on the way
    ],
)
def test_reading_goes_on_after_errors(tmp_path, monkeypatch, error, n_warnings):
    path = write(tmp_path / "a.mka", tone(30.0), "flac")
    whole, _ = read(path)
    real_open = av.open
    monkeypatch.setattr(
        av, "open", lambda *args, **options: Interrupted(real_open(*args, **options), error, 150)
    )
    samples, stream = read(path)
    np.testing.assert_array_equal(samples, whole)
    assert len(stream.warnings) == n_warnings


def test_a_file_of_pictures_only_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 64
        for _ in range(5):
            container.mux(video.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(video.encode(None))
    with pytest.raises(AudioError, match=r"a\.mp4: has no audio track; give a file with sound"):
        open_audio(path, RATE_HZ)


def test_cut_m4a_tells_the_loss(tmp_path):
    options = {"movflags": "+faststart"}
    path = write(tmp_path / "a.m4a", tone(5.0), "aac", options=options)
    whole, _ = read(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    samples, stream = read(path)
    assert 2.0 < stream.duration_s < 4.0
    n_sure = samples.shape[1] - 2048
    np.testing.assert_array_equal(samples[:, :n_sure], whole[:, :n_sure])
    assert stream.expected_duration_s == pytest.approx(5.0, abs=0.05)
    assert lost_s(stream) == pytest.approx(5.0 - stream.duration_s, abs=0.06)


def test_m4a_without_its_index_is_refused(tmp_path):
    path = write(tmp_path / "a.m4a", tone(2.0), "aac")  # the index is at the end
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with pytest.raises(
        AudioError, match=r"a\.m4a: .* damaged or cut off at a vital place"
    ) as caught:
        open_audio(path, RATE_HZ)
    assert "\n" not in str(caught.value)


def test_bad_packets_leave_silence_in_place(tmp_path):
    path = write(tmp_path / "a.m4a", tone(6.0), "aac", options={"movflags": "+faststart"})
    whole, _ = read(path)
    samples, stream = read(damage(path, 2500))
    assert samples.shape == whole.shape
    for place in (slice(0, 2 * RATE_HZ), slice(4 * RATE_HZ, 6 * RATE_HZ)):
        error = np.sqrt(np.mean((samples - whole)[:, place] ** 2))
        assert error < 0.02  # a frame out of place gives 0.3
    assert 0.02 < lost_s(stream) < 0.5


def test_missing_stretch_is_silent(tmp_path):
    path = write(tmp_path / "a.mka", tone(20.0), "flac")
    whole, _ = read(path)
    data = path.read_bytes()
    third = len(data) // 3
    path.write_bytes(data[:third] + bytes(third) + data[2 * third :])
    samples, stream = read(path)
    assert abs(samples.shape[1] - whole.shape[1]) < 0.01 * RATE_HZ
    assert lost_s(stream) == pytest.approx(20 / 3, abs=5.5)
    np.testing.assert_array_equal(samples[:, : 3 * RATE_HZ], whole[:, : 3 * RATE_HZ])
    assert not samples[:, 10 * RATE_HZ : 11 * RATE_HZ].any()


def test_damage_of_unknown_length_is_told(tmp_path):
    path = write(tmp_path / "a.aac", tone(4.0), "aac", format="adts")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 30])
    _, stream = read(path)
    assert stream.warnings == (
        "damaged parts of the file could not be read; their length is unknown",
    )


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_channels_that_change_on_the_way_keep_the_first_number(tmp_path, first, second):
    paths = [
        write(tmp_path / f"{n}.aac", tone(2.0, n), "aac", format="adts") for n in (first, second)
    ]
    joined = tmp_path / "joined.aac"
    joined.write_bytes(b"".join(path.read_bytes() for path in paths))
    samples, stream = read(joined)
    assert stream.n_channels == first
    assert samples.shape[1] == pytest.approx(4 * RATE_HZ, abs=4096)
    assert np.sqrt(np.mean(samples[:, -RATE_HZ:] ** 2)) > 0.1


def test_an_unknown_codec_is_refused(tmp_path):
    path = write(tmp_path / "a.mka", tone(1.0), "aac")
    path.write_bytes(path.read_bytes().replace(b"A_AAC", b"A_XYZ"))
    with pytest.raises(AudioError, match="has protected audio or an unknown codec"):
        open_audio(path, RATE_HZ)


def test_playlists_open_no_other_file(tmp_path):
    write(tmp_path / "other.aac", tone(1.0), "aac", format="adts")
    path = tmp_path / "list.m3u8"
    path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nother.aac\n#EXT-X-ENDLIST\n")
    with pytest.raises(AudioError, match=r"list\.m3u8: "):
        open_audio(path, RATE_HZ)


def test_leaving_early_closes_the_file(tmp_path):
    path = write(tmp_path / "a.mka", tone(9.0), "flac")
    with path.open("rb") as file, open_audio(file, RATE_HZ) as stream:
        next(iter(stream))
        assert 0 < stream.duration_s < 9
    path.unlink()  # which Windows refuses while the file is open
