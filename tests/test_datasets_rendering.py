"""Rendered recordings: what sounds, when, and that the same seed gives the same bytes."""

import io
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from soundfonts import ROOT_HZ, soundfont

from amtcli.datasets import rendering_players
from amtcli.datasets.pack import open_pack, read_manifest
from amtcli.datasets.rendering import RenderOptions, estimate, excerpt, render
from amtcli.datasets.rendering_sources import find_midi, read_maestro_splits
from amtcli.datasets.rendering_synthesiser import (
    Instrument,
    open_instrument,
    playable_midi,
    synthesise,
)
from amtcli.datasets.verify import verify_pack
from amtcli.errors import DataError, NoInputError, UsageError
from amtcli.midi import performance_to_midi_bytes
from amtcli.midi_reading import read_performance
from amtcli.notes import Beat, Note, PedalSpan, Performance

RATE_HZ = 16_000

NOISY = RenderOptions(alter=lambda audio, rate_hz, rng: audio + 0.1)

needs_fluidsynth = pytest.mark.skipif(
    shutil.which("fluidsynth") is None, reason="the program fluidsynth is not installed"
)


needs_sfizz = pytest.mark.skipif(
    rendering_players._sfizz() is None, reason="the program sfizz_render is not installed"
)


def sfz(folder, silence_s=0.0):
    """Write an SFZ instrument: a sine of 440 Hz on all keys.

    A loop of 20 periods: what is no longer than that, sfizz does not read while it plays.
    """
    silence, period = np.zeros(round(44_000 * silence_s)), np.sin(2 * np.pi * np.arange(100) / 100)
    wave = np.concatenate([silence, np.tile(0.5 * period, 20)])
    soundfile.write(folder / "sine.wav", wave, 44_000)
    file = folder / "sine.sfz"
    file.write_text(
        "<region> sample=sine.wav pitch_keycenter=69 ampeg_release=0.01 "
        f"loop_mode=loop_continuous loop_start={len(silence)} loop_end={len(wave) - 1}"
    )
    return file


def write_midi(path, notes, pedals=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(performance_to_midi_bytes(Performance(tuple(notes), tuple(pedals))))
    return path


def melody(n_notes=6, first_pitch=60):
    return [Note(0.5 + 0.4 * i, 0.7 + 0.4 * i, first_pitch + i, 64 + i) for i in range(n_notes)]


@pytest.fixture
def instrument(tmp_path):
    file = tmp_path / "sine.sf2"
    file.write_bytes(soundfont())
    return open_instrument(file, 0)


def play(instrument, notes, pedals=(), **tuning):
    midi = playable_midi(Performance(tuple(notes), tuple(pedals)), instrument.program, **tuning)
    return synthesise(midi, instrument, RATE_HZ)


def level(audio, start_s, end_s):
    part = audio[round(start_s * RATE_HZ) : round(end_s * RATE_HZ)]
    return float(np.sqrt(np.mean(part**2))) if len(part) else 0.0


def heard_s(audio, threshold=0.01):
    return float(np.argmax(np.abs(audio) > threshold * np.abs(audio).max())) / RATE_HZ


def pitch_hz(audio):
    part = audio[8000:40_000] * np.hanning(32_000)
    return np.argmax(np.abs(np.fft.rfft(part, 2**20))) * RATE_HZ / 2**20


def double(audio, sample_rate_hz, rng):
    """An alteration that can be recognised: it draws, and it makes every second sample zero."""
    rng.random()
    altered = audio.copy()
    altered[::2] = 0
    return altered


class TestSynthesiser:
    pytestmark = needs_fluidsynth

    @pytest.mark.parametrize("silence_s", [0.0, 0.02])
    def test_onsets_lie_where_the_labels_say(self, tmp_path, silence_s):
        file = tmp_path / "late.sf2"
        file.write_bytes(soundfont(silence_s))
        instrument = open_instrument(file, 0)
        # The silence lasts longer below the sample's own pitch: 1.19 times at the middle probe.
        assert instrument.latency_s == pytest.approx(0.0025 + 1.19 * silence_s, abs=0.0015)
        for onset_s in (1.0, 2.2345):
            audio = play(instrument, [Note(onset_s, onset_s + 0.5, 66, 90)])
            assert heard_s(audio) == pytest.approx(onset_s, abs=0.002)

    def test_a_pedalled_note_sounds_until_the_pedal_is_up(self, instrument):
        key = [Note(0.5, 0.8, 60, 90)]
        with_pedal = play(instrument, key, [PedalSpan(0.6, 2.0, 64)])
        without = play(instrument, key)
        assert level(without, 0.55, 0.75) > 0.01
        assert level(with_pedal, 1.0, 1.95) == pytest.approx(level(without, 0.55, 0.75), rel=0.1)
        assert level(without, 0.9, 1.95) < 1e-4
        assert level(with_pedal, 2.1, 2.5) < 1e-4

    def test_tuning_moves_the_pitch(self, instrument):
        audio = play(instrument, [Note(0.0, 3.0, 69, 90)], detune_cents=-20.0)
        assert 1200 * np.log2(pitch_hz(audio) / ROOT_HZ) == pytest.approx(-20.0, abs=0.2)

    @pytest.mark.parametrize(("there", "wanted"), [(0, 5), (5, 0)])
    def test_a_program_that_is_not_there_is_named(self, tmp_path, there, wanted):
        file = tmp_path / "sine.sf2"
        file.write_bytes(soundfont(program=there))
        assert open_instrument(file, there).name == f"sine:{there}"
        with pytest.raises(DataError, match=f"program {wanted}.*; choose another one"):
            open_instrument(file, wanted)

    def test_a_file_that_is_no_soundfont_is_named(self, tmp_path):
        file = tmp_path / "none.sf2"
        file.write_bytes(b"no SoundFont at all")
        with pytest.raises(DataError, match=r"fluidsynth cannot play .*none\.sf2"):
            open_instrument(file, 0)
        with pytest.raises(DataError, match=r"missing\.sf2 cannot be read"):
            open_instrument(tmp_path / "missing.sf2", 0)


class TestSfz:
    pytestmark = needs_sfizz

    @pytest.mark.parametrize("silence_s", [0.0, 0.02])
    def test_onsets_lie_where_the_labels_say(self, tmp_path, silence_s):
        instrument = open_instrument(sfz(tmp_path, silence_s), 0)
        assert instrument.name == "sine"
        assert instrument.latency_s == pytest.approx(0.001 + 1.19 * silence_s, abs=0.0015)
        for onset_s in (1.0, 2.2345):
            audio = play(instrument, [Note(onset_s, onset_s + 0.5, 66, 90)])
            assert heard_s(audio) == pytest.approx(onset_s, abs=0.002)

    def test_pedal_tuning_and_velocity_are_played(self, tmp_path):
        instrument = open_instrument(sfz(tmp_path), 0)
        key = [Note(0.5, 0.8, 60, 90)]
        assert level(play(instrument, key), 1.2, 1.9) < 1e-4
        pedalled = play(instrument, key, [PedalSpan(0.6, 2.0, 64)])
        assert level(pedalled, 1.2, 1.9) == pytest.approx(level(pedalled, 0.6, 0.8), rel=0.1)
        tuned = play(instrument, [Note(0.0, 3.0, 69, 127)], detune_cents=-20.0)
        assert 1200 * np.log2(pitch_hz(tuned) / 440.0) == pytest.approx(-20.0, abs=0.2)
        softer = play(instrument, [Note(0.0, 3.0, 69, 64)])
        assert level(softer, 1, 2) / level(tuned, 1, 2) == pytest.approx((64 / 127) ** 2, rel=0.02)

    def test_what_cannot_be_played_is_named(self, tmp_path):
        bad = tmp_path / "bad.sfz"
        bad.write_text("no SFZ at all")
        with pytest.raises(DataError, match=r"sfizz cannot play .*bad\.sfz: Parse error"):
            open_instrument(bad, 0)
        bad.write_text("<region> sample=missing.wav")
        with pytest.raises(DataError, match="or the samples that it names makes no sound"):
            open_instrument(bad, 0)

    def test_an_instrument_without_its_lowest_keys_is_refused(self, tmp_path):
        file = sfz(tmp_path)
        file.write_text(file.read_text() + " lokey=31")
        with pytest.raises(DataError, match=r"no sound on key 24 \(MIDI\)"):
            open_instrument(file, 0)

    def test_how_late_it_is_does_not_depend_on_how_loud(self, tmp_path):
        file = sfz(tmp_path, silence_s=0.05)
        file.write_text(file.read_text() + " pitch_keytrack=0")
        loud = open_instrument(file, 0)
        file.write_text(file.read_text() + " volume=-20")
        quiet = open_instrument(file, 0)
        assert loud.latency_s == pytest.approx(0.051, abs=0.003)
        assert quiet.latency_s == pytest.approx(loud.latency_s, abs=0.001)

    def test_a_recording_without_sound_is_listed(self, tmp_path):
        file = sfz(tmp_path)
        file.write_text(file.read_text() + " lokey=60")
        write_midi(tmp_path / "midi/bass.mid", melody(first_pitch=40))
        half = Instrument(file, 0, "", 0.0)
        manifest = render(find_midi([tmp_path / "midi"]), [half], tmp_path / "pack", NOISY)
        assert list(manifest.rejected) == ["bass"]
        assert "sine made no sound" in manifest.rejected["bass"]


def test_without_sfizz_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(rendering_players, "_sfizz", lambda: None)
    with pytest.raises(UsageError, match=r"pip install 'amtcli\[sfz\]'"):
        synthesise(b"", Instrument(tmp_path / "x.sfz", 0, "", 0.0), RATE_HZ)


def test_without_fluidsynth_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install it"):
        synthesise(b"", Instrument(tmp_path / "x.sf2", 0, "", 0.0), RATE_HZ)


def test_the_playable_file_has_the_same_notes_and_pedals():
    performance = Performance(tuple(melody()), (PedalSpan(0.6, 1.1, 64, 100),))
    plain = read_performance(io.BytesIO(performance_to_midi_bytes(performance)))
    played = read_performance(io.BytesIO(playable_midi(performance, 3, 12.0)))
    assert played == plain


class TestRender:
    pytestmark = needs_fluidsynth

    @pytest.fixture
    def data_set(self, tmp_path):
        write_midi(tmp_path / "midi/one/a.mid", melody(), [PedalSpan(0.6, 2.0, 64)])
        write_midi(tmp_path / "midi/two/b.mid", melody(first_pitch=48))
        return find_midi([tmp_path / "midi"])

    def test_a_pack_holds_audio_with_its_labels(self, tmp_path, data_set, instrument):
        render(data_set, [instrument], tmp_path / "pack", RenderOptions())
        pack = open_pack(tmp_path / "pack")
        assert [(r.name, r.group, r.split, r.instrument) for r in pack.recordings] == [
            ("one/a", "one", "train", "sine:0"),
            ("two/b", "two", "train", "sine:0"),
        ]
        recording = pack.recordings[0]
        labels = recording.read_labels()
        assert labels.notes.pitch.tolist() == [60, 61, 62, 63, 64, 65]
        assert labels.notes.velocity.tolist() == [64, 65, 66, 67, 68, 69]
        assert labels.notes.onset_s == pytest.approx([n.onset_s for n in melody()], abs=6e-4)
        # The pedal holds the notes released in its span, but for the last two.
        assert labels.notes.sounding_end_s[:3] == pytest.approx([2.0] * 3, abs=6e-4)
        assert labels.pedals.onset_s == pytest.approx([0.6], abs=6e-4)
        audio = recording.read_audio(0, recording.n_samples)
        assert heard_s(audio) == pytest.approx(0.5, abs=0.002)
        assert -15.1 < 20 * np.log10(np.abs(audio).max()) < -0.9
        assert recording.duration_s == pytest.approx(2.7 + 2.0, abs=0.01)  # and a tail
        assert [v.problem for v in verify_pack(tmp_path / "pack")] == [None, None]

    def test_the_same_seed_gives_the_same_bytes(self, tmp_path, data_set, instrument):
        options = RenderOptions(alter=double)
        reordered = replace(data_set, recordings=data_set.recordings[::-1])
        for folder, given, chosen in (
            ("first", data_set, options),
            ("again", reordered, options),
            ("other", data_set, replace(options, seed=1)),
        ):
            render(given, [instrument], tmp_path / folder, chosen)
        first, again, other = (read_bytes(tmp_path / x) for x in ("first", "again", "other"))
        assert first == again
        assert len(first) == 3
        assert first["recordings/one/a.h5"] != other["recordings/one/a.h5"]

    def test_it_goes_on_where_it_was_interrupted(self, tmp_path, data_set, instrument, monkeypatch):
        whole, cut = tmp_path / "whole", tmp_path / "cut"
        render(data_set, [instrument], whole, RenderOptions())

        def stop(packed):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            render(data_set, [instrument], cut, RenderOptions(), stop)
        kept = cut / "recordings/one/a.h5"
        made_ns = kept.stat().st_mtime_ns
        assert estimate(data_set, cut, RenderOptions()).durations_s.keys() == {"two/b"}
        render(data_set, [instrument], cut, RenderOptions())
        assert kept.stat().st_mtime_ns == made_ns
        assert read_bytes(cut) == read_bytes(whole)
        render(data_set, [instrument], cut, RenderOptions(seed=1))
        assert kept.stat().st_mtime_ns != made_ns

    def test_copies_go_round_the_instruments(self, tmp_path, data_set, instrument):
        (tmp_path / "other.sf2").write_bytes(soundfont(0.01))
        instruments = [instrument, open_instrument(tmp_path / "other.sf2", 0)]
        options = RenderOptions(n_copies=2)
        render(data_set, instruments, tmp_path / "pack", options)
        pack = open_pack(tmp_path / "pack")
        assert [r.name for r in pack.recordings] == ["one/a", "one/a_take2", "two/b", "two/b_take2"]
        by_piece = [{r.instrument for r in pack.recordings[i : i + 2]} for i in (0, 2)]
        assert by_piece == [{"sine:0", "other:0"}] * 2

    def test_an_alteration_hears_the_dry_sound(self, tmp_path, data_set, instrument):
        render(data_set, [instrument], tmp_path / "pack", RenderOptions(alter=double))
        recording = open_pack(tmp_path / "pack").recordings[0]
        audio = recording.read_audio(0, recording.n_samples)
        assert not audio[::2].any() and np.abs(audio[1::2]).max() > 0.1

    def test_what_cannot_be_rendered_is_listed(self, tmp_path, data_set, instrument):
        (tmp_path / "midi/two/b.mid").write_bytes(b"MThd")
        write_midi(tmp_path / "midi/two/c.mid", [Note(0.0, 1.0, 120, 64)])
        found = find_midi([tmp_path / "midi"])
        manifest = render(found, [instrument], tmp_path / "pack", RenderOptions())
        assert [entry.name for entry in manifest.recordings] == ["one/a"]
        assert manifest.rejected.keys() == {"two/b", "two/c"}
        assert "no notes of the piano" in manifest.rejected["two/c"]
        assert read_manifest(tmp_path / "pack") == manifest

    def test_a_folder_of_something_else_is_left_alone(self, tmp_path, data_set, instrument):
        pack = tmp_path / "pack"
        pack.mkdir()
        document = {"format": 1, "dataset": "maps", "sample_rate_hz": RATE_HZ, "recordings": []}
        (pack / "manifest.json").write_text(json.dumps({**document, "rejected": {}}))
        with pytest.raises(UsageError, match="is a pack of maps"):
            render(data_set, [instrument], pack, RenderOptions())
        assert len(list(pack.rglob("*"))) == 1

    def test_what_is_being_replaced_is_no_pack(self, tmp_path, data_set, instrument):
        render(data_set, [instrument], tmp_path / "pack", RenderOptions(seed=1))

        def stop(packed):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            render(data_set, [instrument], tmp_path / "pack", RenderOptions(seed=2), stop)
        with pytest.raises(DataError, match="is no pack"):
            open_pack(tmp_path / "pack")

    def test_longer_performances_give_an_excerpt(self, tmp_path, instrument):
        write_midi(tmp_path / "midi/long.mid", melody(40, first_pitch=40))
        options = RenderOptions(longest_s=5.0)
        render(find_midi([tmp_path / "midi"]), [instrument], tmp_path / "pack", options)
        recording = open_pack(tmp_path / "pack").recordings[0]
        pitches = recording.read_labels().notes.pitch
        assert 11 <= len(pitches) <= 13 and np.all(np.diff(pitches) == 1)
        assert recording.duration_s < 5.0 + 0.5 + 2.1

    def test_varied_recordings_have_the_labels_of_what_is_played(self, tmp_path, instrument):
        write_midi(tmp_path / "midi/a.mid", melody(12))
        data_set, labels = find_midi([tmp_path / "midi"]), {}
        for name, varied in (("plain", False), ("varied", True)):
            render(data_set, [instrument], tmp_path / name, RenderOptions(varied=varied))
            recording = open_pack(tmp_path / name).recordings[0]
            labels[name] = recording.read_labels().notes
            audio = recording.read_audio(0, recording.n_samples)
            assert heard_s(audio, 0.1) == pytest.approx(labels[name].onset_s[0], abs=0.02)
            assert recording.duration_s == pytest.approx(
                labels[name].sounding_end_s.max() + 2, abs=1e-3
            )
        steps_s = [np.diff(labels[name].onset_s)[0] for name in ("plain", "varied")]
        assert steps_s[0] == pytest.approx(0.4, abs=0.002)
        assert abs(steps_s[1] - 0.4) > 0.005

    def test_beats_follow_what_is_played(self, tmp_path, instrument):
        midi = tmp_path / "midi/a.mid"
        write_midi(midi, melody(40, first_pitch=40))
        # A beat with every other note, on and on after the sound has ended at 18.3 s.
        beats_s = [0.5 + 0.8 * i for i in range(40)]
        rows = [f"{time_s:.6f} {1 + i % 3}\n" for i, time_s in enumerate(beats_s)]
        midi.with_suffix(".beats").write_text("".join(rows))
        for options in (
            RenderOptions(),
            RenderOptions(varied=True),
            RenderOptions(longest_s=5.0, seed=3),
            RenderOptions(varied=True, longest_s=5.0, seed=4),
        ):
            render(find_midi([tmp_path / "midi"]), [instrument], tmp_path / "pack", options)
            (recording,) = open_pack(tmp_path / "pack").recordings
            labels = recording.read_labels()
            assert labels.beats.time_s[-1] < recording.duration_s
            struck_s = labels.beats.time_s[labels.beats.time_s <= labels.notes.onset_s[-1]]
            apart_s = np.abs(struck_s[:, None] - labels.notes.onset_s).min(axis=1)
            assert len(struck_s) >= 5 and apart_s.max() < 2e-3
            downbeats = np.flatnonzero(labels.beats.is_downbeat)
            assert len(downbeats) > 1 and set(np.diff(downbeats)) == {3}
            if options == RenderOptions():
                assert labels.beats.time_s == pytest.approx(beats_s[:23])

    def test_other_beats_are_another_recording(self, tmp_path, data_set, instrument):
        beats = tmp_path / "midi/one/a.beats"

        def rendered():
            found = find_midi([tmp_path / "midi"])
            manifest = render(found, [instrument], tmp_path / "pack", RenderOptions())
            labels = [each.read_labels() for each in open_pack(tmp_path / "pack").recordings]
            return [len(each.sources) for each in manifest.recordings], [x.beats for x in labels]

        assert rendered() == ([2, 2], [None, None])
        untouched = (tmp_path / "pack/recordings/two/b.h5").stat().st_mtime_ns
        for row in ("0.9 1", "1.3 1"):
            beats.write_text(row)
            sources, (first, second) = rendered()
            assert sources == [3, 2] and second is None
            assert first.time_s.tolist() == [float(row.split()[0])]
        assert (tmp_path / "pack/recordings/two/b.h5").stat().st_mtime_ns == untouched
        beats.write_text("none")
        manifest = render(
            find_midi([tmp_path / "midi"]), [instrument], tmp_path / "pack", RenderOptions()
        )
        assert "a.beats, line 1: expected a time" in manifest.rejected["one/a"]

    def test_a_table_of_notes_is_rendered_and_knows_no_pedal(self, tmp_path, instrument):
        table = "onset\toffset\tnote\tvelocity\n0.5\t1.25\t60\t70\n2.0\t2.5\t64\t50\n"
        (tmp_path / "labels").mkdir()
        (tmp_path / "labels/a.tsv").write_text(table)
        (tmp_path / "labels/b.tsv").write_text(table)
        write_midi(tmp_path / "labels/b.mid", melody(3))  # says more than the table beside it
        found = find_midi([tmp_path / "labels"])
        assert [recording.label_files[0].name for recording in found.recordings] == [
            "a.tsv",
            "b.mid",
        ]
        render(found, [instrument], tmp_path / "pack", RenderOptions())
        of_table, of_midi = (r.read_labels() for r in open_pack(tmp_path / "pack").recordings)
        assert of_table.pedals is None and of_midi.pedals is not None
        assert of_table.notes.onset_s == pytest.approx([0.5, 2.0], abs=1e-3)
        assert of_table.notes.sounding_end_s == pytest.approx([1.25, 2.5], abs=1e-3)
        assert of_table.notes.velocity.tolist() == [70, 50]

    def test_a_table_that_cannot_be_read_does_not_stop_the_others(self, tmp_path, instrument):
        write_midi(tmp_path / "midi/good.mid", melody(2))
        (tmp_path / "midi/bad.tsv").write_bytes(b"\xff\xfe\x00")
        found = find_midi([tmp_path / "midi"])
        manifest = render(found, [instrument], tmp_path / "pack", RenderOptions())
        assert [entry.name for entry in manifest.recordings] == ["good"]
        assert "cannot be read as a label table" in manifest.rejected["bad"]


def read_bytes(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_excerpt_keeps_its_beats_and_the_pedals_that_reach_into_it():
    performance = Performance(
        (Note(1.0, 9.0, 60, 50), Note(4.0, 5.0, 62, 50), Note(6.5, 9.0, 64, 50)),
        (PedalSpan(0.0, 1.0, 64), PedalSpan(2.0, 4.5, 64), PedalSpan(6.0, 9.0, 64)),
        (Beat(2.5), Beat(3.0, True, "p", True), Beat(6.5, dynamics="p"), Beat(7.0)),
    )
    cut = excerpt(performance, 3.0, 4.0)
    assert cut.notes == (Note(1.5, 2.5, 62, 50), Note(4.0, 4.5, 64, 50))
    assert cut.pedals == (PedalSpan(0.5, 2.0, 64), PedalSpan(3.5, 4.5, 64))
    assert cut.beats == (Beat(0.5, True, "p", True), Beat(4.0, dynamics="p"))


def test_an_excerpt_has_the_beats_that_fall_into_it():
    beats = tuple(Beat(time_s, time_s == 3.0, "p") for time_s in (2.9, 3.0, 6.9, 7.0))
    cut = excerpt(Performance((), (), beats), 3.0, 4.0)
    assert cut.beats == (Beat(0.5, True, "p"), Beat(pytest.approx(4.4), False, "p"))


class TestFindMidi:
    @pytest.fixture
    def asap(self, tmp_path):
        """A folder shaped as (n)ASAP."""
        rows = [
            ("Haydn/Sonatas/1-1/Kim.mid", "{maestro}/2009/MIDI-1_wav--1.midi"),
            ("Haydn/Sonatas/1-1/Lee.mid", ""),
            ("Haydn/Sonatas/1-1_no_repeat/Roe.mid", ""),
            ("Ravel/Pavane/Kim.mid", "{maestro}/2011/MIDI-2_wav--2.midi"),
            ("Liszt/Sonata/Poe.mid", ""),
        ]
        folder = tmp_path / "asap"
        for name, _ in rows:
            write_midi(folder / name, melody(1))
        write_midi(folder / "Ravel/Pavane/midi_score.mid", melody(1))
        lines = [f"{name},{maestro}" for name, maestro in rows]
        header = "midi_performance,maestro_midi_performance"
        (folder / "metadata.csv").write_text("\n".join([header, *lines]) + "\n")
        return folder

    @pytest.fixture
    def maestro(self, tmp_path):
        path = tmp_path / "maestro-v3.0.0.csv"
        rows = ["test,2009/MIDI-1_wav--1.midi", "validation,2011/MIDI-2_wav--2.midi"]
        path.write_text("\n".join(["split,midi_filename", *rows]) + "\n")
        return path

    def test_a_folder_is_a_composition_with_and_without_its_repeats(self, asap):
        found = find_midi([asap]).recordings
        assert [(r.name, r.group) for r in found] == [
            ("Haydn/Sonatas/1-1/Kim", "Haydn/Sonatas/1-1"),
            ("Haydn/Sonatas/1-1/Lee", "Haydn/Sonatas/1-1"),
            ("Haydn/Sonatas/1-1_no_repeat/Roe", "Haydn/Sonatas/1-1"),
            ("Liszt/Sonata/Poe", "Liszt/Sonata"),
            ("Ravel/Pavane/Kim", "Ravel/Pavane"),
        ]

    def test_splits_follow_maestro_by_composition(self, asap, maestro):
        found = find_midi([asap], maestro_splits=read_maestro_splits(maestro)).recordings
        assert {r.name: r.split for r in found} == {
            "Haydn/Sonatas/1-1/Kim": "test",
            "Haydn/Sonatas/1-1/Lee": "test",
            "Haydn/Sonatas/1-1_no_repeat/Roe": "test",
            "Liszt/Sonata/Poe": "train",
            "Ravel/Pavane/Kim": "validation",
        }

    def test_files_given_one_by_one_split_alike(self, asap, maestro):
        files = sorted(asap.rglob("*.mid"))[:4]
        found = find_midi(files, maestro_splits=read_maestro_splits(maestro)).recordings
        assert [(r.name, r.split) for r in found] == [
            ("Haydn/Sonatas/1-1/Kim", "test"),
            ("Haydn/Sonatas/1-1/Lee", "test"),
            ("Haydn/Sonatas/1-1_no_repeat/Roe", "test"),
            ("Liszt/Sonata/Poe", "train"),
        ]

    def test_maestros_own_files_keep_their_splits_year_by_year(self, tmp_path, maestro):
        maestro.write_text(maestro.read_text() + "train,2009/MIDI-3_wav--3.midi\n")
        for name in ("2009/MIDI-1_wav--1", "2009/MIDI-3_wav--3", "2011/MIDI-2_wav--2"):
            write_midi(tmp_path / f"maestro/{name}.midi", melody(1))
        found = find_midi([tmp_path / "maestro"], maestro_splits=read_maestro_splits(maestro))
        assert [r.split for r in found.recordings] == ["test", "train", "validation"]

    def test_alignments_beside_performances_are_no_tables_of_notes(self, asap):
        table = asap / "Liszt/Sonata/Poe_note_alignments/note_alignment.tsv"
        table.parent.mkdir()
        table.write_text("xml_id\tmidi_id\ttrack\tchannel\tpitch\tonset\nn1\t7\t0\t0\t60\t480\n")
        assert len(find_midi([asap]).recordings) == 5

    def test_a_table_of_splits_that_was_cut_off_is_named(self, maestro):
        maestro.write_text("split,midi_filename\ntrain,2004/a.midi\ntest\n")
        with pytest.raises(DataError, match="is not MAESTRO's table"):
            read_maestro_splits(maestro)

    def test_compositions_are_left_out_by_name_or_pattern(self, asap):
        found = find_midi([asap], ["Haydn/Sonatas/1-1", "Liszt/*", "Chopin/Barcarolle"])
        assert [r.name for r in found.recordings] == ["Ravel/Pavane/Kim"]
        assert found.notices == (
            "4 files of excluded compositions are left out",
            "not among the MIDI files: Chopin/Barcarolle",
        )

    def test_a_list_of_other_names_is_refused(self, asap):
        with pytest.raises(UsageError, match=r"neither pathetique_1 .* Haydn/Sonatas/1-1"):
            find_midi([asap], ["pathetique_1"])

    def test_nothing_to_render_is_an_error(self, asap, tmp_path):
        with pytest.raises(NoInputError, match="no MIDI files"):
            find_midi([asap], ["*"])
        (tmp_path / "empty").mkdir()
        with pytest.raises(NoInputError, match="no MIDI files"):
            find_midi([tmp_path / "empty"])

    def test_two_files_of_one_name_are_an_error(self, tmp_path):
        one, two = (write_midi(tmp_path / x / "a.mid", melody(1)).parent for x in ("x", "y"))
        with pytest.raises(UsageError, match="would both be called a"):
            find_midi([one, two])

    def test_a_table_of_something_else_is_refused(self, tmp_path):
        path = tmp_path / "table.csv"
        path.write_text("name,split\na,train\n")
        with pytest.raises(DataError, match="midi_filename"):
            read_maestro_splits(path)
        path.write_text("midi_filename,split\na.mid,training\n")
        with pytest.raises(DataError, match="rows without a split"):
            read_maestro_splits(path)
