import io
import tarfile
from collections import Counter

import mido
import pytest

from amtcli.errors import MidiError
from amtcli.midi_reading import read_file, read_score, with_velocities
from amtcli.notes import SOFT_PEDAL, SUSTAIN_PEDAL, PedalSpan

N_REAL_FILES = 100
LARGEST_REAL_FILE = 11_500  # bytes: what keeps mido's parsing to seconds
N_OF_ONE_PIECE = 5


def midi(*tracks, kind=1, division=480):
    """A file of raw tracks, each without its end-of-track event."""
    header = b"MThd" + bytes([0, 0, 0, 6, 0, kind]) + bytes([0, len(tracks)])
    data = header + division.to_bytes(2, "big")
    for track in tracks:
        content = bytes(track) + b"\x00\xff\x2f\x00"
        data += b"MTrk" + len(content).to_bytes(4, "big") + content
    return data


def tempo(delta, quarter_us):
    return [delta, 0xFF, 0x51, 3, *quarter_us.to_bytes(3, "big")]


def notes_of(data):
    return [(n.onset_s, n.offset_s, n.pitch, n.velocity) for n in read_score(data).notes]


def changed_bytes(before, after):
    assert len(before) == len(after)
    return {at for at, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}


def messages(data):
    file = mido.MidiFile(file=io.BytesIO(data))
    return (file.type, file.ticks_per_beat), [list(track) for track in file.tracks]


ODD_TRACK = [
    *(0, 0xFF, 0x03, 2, 0x90, 0x40),  # a name that looks like the start of a note
    *(0, 0xF0, 4, 0, 60, 1, 0xF7),  # system exclusive data that looks like a note
    *(0, 0xC0, 5),
    *(0, 0x90, 60, 70),
    *(0, 64, 71),  # running status
    *(0, 0xB0, 64, 40),  # half a pedal
    *(0x83, 0x60, 0x90, 60, 0),  # 480 ticks on: note-on of velocity 0 is a release
    *(0, 0x80, 64, 33),  # a release with a velocity
    *(0, 0xE0, 1, 2),
    *(0, 0x99, 40, 90),  # drums
    *(0, 0x89, 40, 0),
]


def test_odd_bytes_are_read_and_only_velocities_change():
    data = midi(tempo(0, 500_000), ODD_TRACK)
    assert notes_of(data) == [(0.0, 0.5, 60, 70), (0.0, 0.5, 64, 71)]
    first, second = read_score(data).notes
    assert read_score(data).n_drums == 1
    assert (first.index, first.track, first.channel, second.index) == (0, 1, 0, 1)
    assert data[first.velocity_at] == 70
    edited = with_velocities(data, {0: 1, 1: 127})
    assert changed_bytes(data, edited) == {first.velocity_at, second.velocity_at}
    assert notes_of(edited) == [(0.0, 0.5, 60, 1), (0.0, 0.5, 64, 127)]
    (header, tracks), (new_header, new_tracks) = messages(data), messages(edited)
    assert header == new_header
    assert tracks[1][3:5] != new_tracks[1][3:5]
    assert tracks[1][:3] + tracks[1][5:] == new_tracks[1][:3] + new_tracks[1][5:]


def test_a_note_keeps_its_velocity_unless_a_new_one_is_given():
    data = midi(ODD_TRACK)
    assert with_velocities(data, {}) == data
    assert [n.velocity for n in read_score(with_velocities(data, {1: 9})).notes] == [70, 9]


@pytest.mark.parametrize("content", [[], [0, 0, 0], [1, 2], [1, 2, 3, 4]])
def test_what_is_no_tempo_changes_none(content):
    odd = [0, 0xFF, 0x51, len(content), *content]
    plain, with_it = (read_score(midi([*start, *ODD_TRACK])) for start in ([], odd))
    assert [note.onset_s for note in with_it.notes] == [note.onset_s for note in plain.notes]


@pytest.mark.parametrize(
    ("velocities", "message"),
    [({0: 0}, "note 0: velocity 0 does not lie in 1-127"), ({1: 128}, "velocity 128"),
     ({2: 64}, "there is no note 2: the score has 2"), ({-1: 64}, "there is no note -1")],
)  # fmt: skip
def test_velocities_that_would_lose_or_miss_a_note_are_refused(velocities, message):
    with pytest.raises(ValueError, match=message):
        with_velocities(midi(ODD_TRACK), velocities)


def test_tempo_map_of_one_track_holds_for_all():
    # 1 quarter at 120, then 60, and in one tick first 100 BPM and then 240, which holds.
    conductor = [*tempo(0, 500_000), *tempo(96, 1_000_000), *tempo(96, 600_000), *tempo(0, 250_000)]
    strikes = [byte for pitch in (60, 61, 62, 63) for byte in (96, 0x90, pitch, 50)]
    score = read_score(midi(conductor, strikes, division=96))
    assert [n.onset_s for n in score.notes] == pytest.approx([0.5, 1.5, 1.75, 2.0])
    assert score.end_s == pytest.approx(2.0)
    assert [n.offset_s for n in score.notes] == pytest.approx([2.0] * 4)


@pytest.mark.parametrize(
    ("division", "tick_s"), [(0xE728, 1 / 1000), (0xE350, 1001 / 30_000 / 80), (1, 0.5)]
)
def test_smpte_time_counts_frames_and_no_tempo(division, tick_s):
    track = [*(100, 0x90, 60, 50), *(100, 60, 0)]
    tracks = [track] if division == 1 else [tempo(0, 100_000), track]
    (note,) = read_score(midi(*tracks, division=division)).notes
    assert (note.onset_s, note.offset_s) == pytest.approx((100 * tick_s, 200 * tick_s))


def test_every_strike_is_a_note_also_where_keys_are_struck_again():
    track = [
        *(0, 0x90, 60, 10),
        *(48, 60, 20),  # struck again while down
        *(0, 60, 0),  # the release of the first, written late: the second goes on
        *(48, 60, 0),
        *(0, 62, 30),
        *(0, 62, 40),  # twice in one tick
        *(48, 62, 0),
        *(0, 64, 50),
        *(0, 64, 0),  # released at once
        *(48, 65, 60),  # never released
    ]
    quarter = 0.5 / 480 * 48
    expected = [
        (0, 1, 60, 10), (1, 2, 60, 20), (2, 3, 62, 30), (2, 3, 62, 40), (3, 3, 64, 50),
        (4, 4, 65, 60),
    ]  # fmt: skip
    found = [(on / quarter, off / quarter, *rest) for on, off, *rest in notes_of(midi(track))]
    assert found == [pytest.approx(note) for note in expected]


def test_equal_keys_of_two_channels_or_tracks_are_two_notes():
    left = [*(0, 0x90, 60, 10), *(0, 0x91, 60, 20), *(48, 0x80, 60, 0), *(48, 0x81, 60, 0)]
    right = [*(48, 0x90, 60, 30), *(96, 60, 0)]
    score = read_score(midi(left, right))
    assert [(n.velocity, n.track, n.channel) for n in score.notes] == [
        (10, 0, 0), (20, 0, 1), (30, 1, 0)
    ]  # fmt: skip
    assert [n.offset_s for n in score.notes] == pytest.approx([0.05, 0.1, 0.15])


def test_pedals_are_spans_with_the_value_reached():
    track = [*(48, 0xB0, 64, 70), *(48, 64, 100), *(48, 64, 10), *(0, 67, 127), *(0, 1, 99)]
    assert read_score(midi([*track, *(48, 7, 1)])).pedals == (
        PedalSpan(pytest.approx(0.05), pytest.approx(0.15), 64, 100),
        PedalSpan(pytest.approx(0.15), pytest.approx(0.2), 67, 127),
    )


def test_format_0_riff_and_foreign_chunks_are_read():
    plain = midi([0, 0x90, 60, 70], kind=0)
    foreign = plain[:14] + b"XFIH\x00\x00\x00\x02\x90\x90" + plain[14:] + b"trailing"
    riff = b"RIFF\x00\x00\x00\x00RMIDdata\x00\x00\x00\x00" + plain
    for data in (plain, foreign, riff):
        (note,) = read_score(data).notes
        assert data[note.velocity_at - 1 : note.velocity_at + 1] == bytes([60, 70])
        assert len(with_velocities(data, {0: 1})) == len(data)


def test_a_score_may_be_empty():
    score = read_score(midi(tempo(0, 500_000)))
    assert (score.notes, score.pedals, score.end_s) == ((), (), 0.0)


WHOLE = midi([0, 0x90, 60, 70])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "song.mid is empty"),
        (b"RIFF and no more", "song.mid is not a MIDI file"),
        (b"<html>", "song.mid is not a MIDI file"),
        (WHOLE[:10], "song.mid is cut off"),
        (WHOLE[:20], "song.mid is cut off"),
        (WHOLE[:-2], "song.mid is cut off"),
        (WHOLE[:14], "song.mid is cut off"),
        (midi([], kind=2), "format 2"),
        (midi([], kind=7), "it says that it is of MIDI format 7"),
        (midi([], division=0), "a time unit of no length"),
        (midi([], division=0xE800), "a time unit of no length"),
        (midi([0, 60, 70]), "data without status at byte 23"),
        (midi([0, 0x90, 60, 200]), "a data byte is 200 at byte 25"),
        (midi([0, 0xF4]), "an unknown event at byte 23"),
        (midi([0x81, 0x81, 0x81, 0x81, 0x81]), "a number has no end"),
        (midi([0, 0xFF, 0x01, 100, 1, 2]), "an event runs out of its track"),
        (WHOLE[:14] + b"MTrk\x00\x00\x00\x03\x00\x90\x3c", "an event runs out of its track"),
    ],
)
def test_damage_is_one_line_that_names_the_file(data, message):
    with pytest.raises(MidiError, match=message) as error:
        read_score(data, "song.mid")
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MidiError, match=r"none\.mid cannot be read: No such file"):
        read_file(tmp_path / "none.mid")


@pytest.fixture(scope="module")
def real_files(shared_data):
    """Performances by name, few of each piece."""
    archive = shared_data / "asap.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    files, n_of = {}, Counter()
    with tarfile.open(archive, mode="r|xz") as tar:
        for member in tar:
            piece = member.name.rpartition("/")[0]
            is_wanted = member.name.endswith(".mid") and member.size < LARGEST_REAL_FILE
            if is_wanted and n_of[piece] < N_OF_ONE_PIECE:
                n_of[piece] += 1
                files[member.name] = tar.extractfile(member).read()
                if len(files) == N_REAL_FILES:
                    break
    assert len(files) == N_REAL_FILES
    return files


def test_real_files_differ_event_by_event_in_velocities_alone(real_files):
    for name, data in real_files.items():
        notes = read_score(data, name).notes
        wanted = {note.index: 1 + (37 * note.index + note.velocity) % 127 for note in notes}
        edited = with_velocities(data, wanted)
        assert changed_bytes(data, edited) == {
            note.velocity_at for note in notes if note.velocity != wanted[note.index]
        }, name
        by_track = {}
        for note in sorted(notes, key=lambda note: note.velocity_at):
            by_track.setdefault(note.track, []).append(wanted[note.index])
        (header, tracks), (new_header, new_tracks) = messages(data), messages(edited)
        assert header == new_header
        for index, (old, new) in enumerate(zip(tracks, new_tracks, strict=True)):
            velocities = iter(by_track.get(index, ()))
            for message in old:
                if message.type == "note_on" and message.velocity > 0:
                    message.velocity = next(velocities)
            assert old == new, name
            assert next(velocities, None) is None, name


def test_real_files_are_read_as_mido_has_them(real_files):
    n_notes = 0
    for name, data in list(real_files.items())[::5]:
        score, (notes, n_presses) = read_score(data, name), mido_reading(data)
        assert [(n.pitch, n.velocity) for n in score.notes] == [note[2:] for note in notes], name
        for ours, (onset_s, offset_s, _, _) in zip(score.notes, notes, strict=True):
            assert (ours.onset_s, ours.offset_s) == pytest.approx((onset_s, offset_s), abs=1e-6)
        assert Counter(pedal.controller for pedal in score.pedals) == n_presses, name
        n_notes += len(score.notes)
    assert n_notes > 10_000


def mido_reading(data):
    """Notes (onset, offset, pitch, velocity) by mido's clock, and presses of each pedal."""
    time_s, down, notes = 0.0, {}, []
    n_presses, values = Counter(), Counter()
    for message in mido.MidiFile(file=io.BytesIO(data)):
        time_s += message.time
        if message.type == "control_change" and message.control in (SUSTAIN_PEDAL, SOFT_PEDAL):
            n_presses[message.control] += values[message.control] < 64 <= message.value
            values[message.control] = message.value
        elif message.type in ("note_on", "note_off"):
            if message.note in down:
                onset_s, velocity = down.pop(message.note)
                notes.append((onset_s, time_s, message.note, velocity))
            if message.type == "note_on" and message.velocity:
                down[message.note] = (time_s, message.velocity)
    assert not down
    return sorted(notes, key=lambda note: (note[0], note[2])), +n_presses
