"""The pipes that the README shows, and processes that are killed or share a folder.

Every test runs real processes. Those about the network's own results use the real model; the
others put a stub in the place of the engine, which says when it begins a recording.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from amtcli.midi_reading import read_performance

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell and signals")
STUB = [sys.executable, str(Path(__file__).with_name("stub_amt.py"))]
N_FILES = 10


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def shell(script, *, program, **environment):
    """Run ``script`` in which ``amt`` is ``program``; fails with its messages."""
    words = " ".join(f"'{word}'" for word in program)
    return subprocess.run(
        ["sh", "-c", f'amt() {{ {words} "$@"; }}\n{script}'],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=580,
        check=True,
    )


def start(log, *words, delay_s=0.0):
    return subprocess.Popen(
        [*STUB, "transcribe", *words],
        stderr=subprocess.PIPE,
        env={**os.environ, "STUB_LOG": log, "STUB_DELAY_S": str(delay_s)},
    )


def begun(log):
    return Path(log).read_text().split() if Path(log).exists() else []


def wait_until(condition):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def make_folder():
    Path("in").mkdir()
    for i in range(N_FILES):
        Path(f"in/{i}.wav").touch()


# The real program


@pytest.fixture
def song(demo_audio, transkun_folder):
    """Two seconds of the demo recording, as song.flac."""
    soundfile = pytest.importorskip("soundfile")
    samples, rate_hz = soundfile.read(demo_audio, stop=2 * 44100)
    soundfile.write("song.flac", samples, rate_hz)


def test_audio_in_midi_out_and_notes_in_json(song):
    amt = [sys.executable, "-m", "amtcli"]
    script = (
        "cat song.flac | amt transcribe - -o - > song.mid &&"
        "amt transcribe song.flac -o - --format jsonl > notes.jsonl"
    )
    assert shell(script, program=amt).stdout == b""
    records = [json.loads(line) for line in Path("notes.jsonl").read_text().splitlines()]
    notes = [record for record in records if record["type"] == "note"]
    notes.sort(key=lambda note: (note["pitch"], note["onset_s"]))
    read = sorted(read_performance(Path("song.mid")).notes, key=lambda n: (n.pitch, n.onset_s))
    assert 8 <= len(notes) <= 20
    assert [n.pitch for n in read] == [n["pitch"] for n in notes]
    assert [n.onset_s for n in read] == pytest.approx([n["onset_s"] for n in notes], abs=1e-3)
    assert min(read, key=lambda n: n.onset_s).pitch == 36  # the low C that the prelude begins on


@pytest.mark.slow
def test_real_run_is_interrupted_and_goes_on(song):
    Path("in").mkdir()
    for i in range(3):
        Path(f"in/{i}.flac").write_bytes(Path("song.flac").read_bytes())
    words = [sys.executable, "-m", "amtcli", "transcribe", "in", "--skip-existing"]
    first = subprocess.Popen(words, stderr=subprocess.PIPE)
    wait_until(lambda: list(Path("in").glob("*.mid")))
    first.send_signal(signal.SIGINT)
    assert b"amt: interrupted" in first.communicate(timeout=60)[1]
    assert first.returncode == 130
    second = subprocess.run(words, capture_output=True, timeout=580, check=True)
    assert b"3 recordings" in second.stderr
    outputs = [path.read_bytes() for path in sorted(Path("in").glob("*.mid"))]
    assert len(outputs) == 3
    assert len(set(outputs)) == 1


# Pipes around a stub


def test_find_feeds_a_list():
    for name in ("x/a.flac", "y/two words.flac", "y/b.wav"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    shell("find . -name '*.flac' | amt transcribe @- -o OUT", program=STUB)
    assert sorted(p.name for p in Path("OUT").iterdir()) == ["a.mid", "two words.mid"]
    shell("find . -name '*.flac' -print0 | amt transcribe @- -r -o TREE", program=STUB)
    trees = sorted(p.as_posix() for p in Path("TREE").rglob("*.mid"))
    assert trees == ["TREE/x/a.mid", "TREE/y/two words.mid"]


def test_jq_reads_notes_and_report():
    if subprocess.run(["sh", "-c", "command -v jq"], capture_output=True, check=False).returncode:
        pytest.skip("needs jq")
    for name in ("song.flac", "bad.flac"):
        Path(name).touch()
    notes = "amt transcribe song.flac -o - --format jsonl | jq 'select(.type == \"note\") | .pitch'"
    assert shell(notes, program=STUB).stdout.split() == [b"60", b"64"]
    failed = "amt transcribe . --report - | jq -r 'select(.status == \"failed\") | .input'"
    assert shell(failed, program=STUB).stdout == b"bad.flac\n"


def test_standard_output_of_a_shell_loop_is_left_alone():
    make_folder()
    Path("list").write_text("0.wav\n1.wav\n2.wav\n")
    loop = 'while read -r name; do amt transcribe "in/$name" -q; echo "$name"; done < list'
    assert shell(loop, program=STUB).stdout == b"0.wav\n1.wav\n2.wav\n"


# Killed, and side by side


def test_killed_run_goes_on_where_it_was():
    make_folder()
    words = ("in", "-o", "out", "--skip-existing")
    first = start("first", *words, delay_s=0.1)
    wait_until(lambda: len(begun("first")) >= 4)
    first.kill()
    first.communicate()
    done = {path.stem for path in Path("out").glob("*.mid")}
    assert 3 <= len(done) < N_FILES
    second = start("second", *words)
    _, err = second.communicate(timeout=60)
    assert second.returncode == 0
    assert f"{N_FILES - len(done)} transcribed, {len(done)} skipped".encode() in err
    assert {Path(name).stem for name in begun("second")}.isdisjoint(done)
    assert len(begun("second")) == N_FILES - len(done)
    outputs = list(Path("out").iterdir())
    assert sorted(path.name for path in outputs) == [f"{i}.mid" for i in range(N_FILES)]
    assert all(len(read_performance(path).notes) == 2 for path in outputs)


def test_two_processes_share_a_folder_and_no_work():
    make_folder()
    words = ("in", "-o", "out", "--skip-existing")
    processes = [start(log, *words, delay_s=0.3) for log in ("first", "second")]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert begun("first")
    assert begun("second")
    assert sorted(begun("first") + begun("second")) == [f"in/{i}.wav" for i in range(N_FILES)]
    assert len(list(Path("out").iterdir())) == N_FILES


def test_recording_of_a_killed_neighbour_is_taken_over():
    Path("a.wav").touch()
    first = start("first", "a.wav", "--skip-existing", delay_s=60.0)
    wait_until(lambda: begun("first"))
    second = start("second", "a.wav", "--skip-existing", "-v")
    assert second.stderr.readline() == b"a.wav: waiting for another amt\n"
    first.kill()
    first.communicate()
    second.communicate(timeout=60)
    assert second.returncode == 0
    assert begun("second") == ["a.wav"]
    assert Path("a.mid").stat().st_size > 0


def test_neighbours_result_is_waited_for_and_not_done_again():
    Path("a.wav").touch()
    first = start("first", "a.wav", delay_s=1.0)
    wait_until(lambda: begun("first"))
    second = start("second", "a.wav", "--skip-existing")
    _, err = second.communicate(timeout=60)
    assert (second.returncode, err) == (0, b"a.wav: 1 skipped\n")
    assert begun("second") == []
    first.communicate(timeout=60)
    assert first.returncode == 0
