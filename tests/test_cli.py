import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from amtcli import __version__
from amtcli.cli import app, transcribe
from amtcli.errors import ModelError
from amtcli.tables import read_toml

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell and signals")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def amt(*words):
    return CliRunner().invoke(app, list(words), prog_name="amt")


def stub_command(*words):
    return [sys.executable, str(Path(__file__).with_name("stub_amt.py")), *words]


def run(command, **options):
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)


def fail_with(monkeypatch, error):
    def open_engine(choice, screen):
        raise error

    monkeypatch.setattr(transcribe, "open_engine", open_engine)
    Path("a.wav").touch()
    return amt("transcribe", "a.wav")


def test_help_leads_with_examples_and_lists_the_commands():
    for flag in ("-h", "--help"):
        result = amt(flag)
        assert result.exit_code == 0
        assert result.stdout.index("amt transcribe song.wav") < result.stdout.index("Options")
        assert all(name in result.stdout for name in ("transcribe", "models", "doctor"))


@pytest.mark.parametrize(
    ("command", "extra"),
    [("refine-velocity", "align"), ("pack render", "sfz"), ("train", "wandb")],
)
def test_help_names_the_extra_that_an_option_needs(command, extra):
    assert f"amtcli[{extra}]" in "".join(amt(*command.split(), "--help").stdout.split())


def test_version():
    assert amt("--version").stdout == f"amt {__version__}\n"


def test_module_is_the_program():
    result = run([sys.executable, "-m", "amtcli", "--version"])
    assert result.stdout.decode().strip() == f"amt {__version__}"


@pytest.mark.parametrize("words", [["--help"], ["transcribe", "a.wav", "--dry-run"]])
def test_torch_is_not_imported_to_answer_a_question(words):
    Path("a.wav").touch()
    program = (
        "import sys, amtcli.cli\n"
        f"sys.argv = ['amt', *{words!r}]\n"
        "try: amtcli.cli.main()\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "heavy = {'torch', 'librosa', 'scipy', 'matplotlib', 'mir_eval'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    result = run([sys.executable, "-c", program])
    assert (result.returncode, result.stderr) == (0, b"")


def test_unknown_command_and_option_are_usage_errors():
    result = amt("transcrib")
    assert result.exit_code == 2
    assert "Did you mean 'transcribe'" in result.stderr
    assert amt("transcribe", "a.wav", "--no-such-option").exit_code == 2
    assert amt("transcribe").exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", ""],
        ["evaluate", "", ""],
        ["pack", "pairs", "", "-o", ""],
        ["train", "two-core", "--data", "x", "--out=", "--smoke"],
    ],
)
def test_nothing_in_the_place_of_a_name_is_not_the_current_folder(words):
    result = amt(*words)
    assert result.exit_code == 2
    assert result.stderr == "amt: error: an argument is empty: is a variable not set?\n"


def test_known_error_is_one_line_and_its_exit_code(monkeypatch):
    result = fail_with(monkeypatch, ModelError("transkun-v3: no such model"))
    assert result.exit_code == 3
    assert result.stderr == "amt: error: transkun-v3: no such model\n"
    assert amt("transcribe", "nothing.wav").exit_code == 4


def test_a_path_that_the_system_refuses_is_one_line(monkeypatch):
    result = fail_with(monkeypatch, PermissionError(13, "Permission denied", "/locked/in"))
    assert result.exit_code == 1
    assert result.stderr == "amt: error: /locked/in: Permission denied\n"
    monkeypatch.undo()
    result = amt("evaluate", "a", "b", "--json", "x" * 300)
    assert result.exit_code == 1
    assert result.stderr.endswith("xxx: File name too long\n")


def test_interruption_is_130(monkeypatch):
    result = fail_with(monkeypatch, KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr.startswith("amt: interrupted")


def test_reader_that_goes_away_is_141_and_silent(monkeypatch):
    result = fail_with(monkeypatch, BrokenPipeError())
    assert (result.exit_code, result.stderr) == (141, "")


def test_bug_keeps_its_traceback_and_asks_for_a_report(tmp_path):
    Path("a.wav").touch()
    program = (
        "import sys, amtcli.cli\n"
        "from amtcli.cli import transcribe\n"
        "transcribe.open_engine = lambda choice, screen: 1 / 0\n"
        "sys.argv = ['amt', 'transcribe', 'a.wav']\n"
        "amtcli.cli.main()\n"
    )
    result = run([sys.executable, "-c", program])
    assert result.returncode == 1
    assert b"ZeroDivisionError" in result.stderr
    assert result.stderr.strip().splitlines()[-1].startswith(b"amt: this is a bug in amt")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "gbk"])
def test_consoles_that_cannot_show_a_name_do_not_stop_the_work(encoding):
    name = "絆 \N{MUSICAL KEYBOARD}é.wav"
    Path(name).touch()
    env = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    result = run(stub_command("transcribe", name, "-v"), env=env)
    assert (result.returncode, result.stdout) == (0, b"")
    assert Path(name).with_suffix(".mid").stat().st_size > 0
    assert b"2 notes, 1 pedal span" in result.stderr
    shown = run(stub_command("transcribe", "--dry-run", name, "--overwrite"), env=env)
    assert shown.returncode == 0
    assert run(stub_command("-h"), env=env).returncode == 0


@posix
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_stop_the_work(closed):
    Path("a.wav").touch()
    command = " ".join(map(repr, stub_command("transcribe", "a.wav"))) + " " + closed
    result = run(["sh", "-c", command])
    assert result.returncode == 0
    assert Path("a.mid").read_bytes().startswith(b"MThd")
    assert b"Traceback" not in result.stderr


@posix
def test_closed_streams_that_are_needed_are_an_error():
    Path("a.wav").touch()
    to_stdout = " ".join(map(repr, stub_command("transcribe", "a.wav", "-o", "-"))) + " >&-"
    result = run(["sh", "-c", to_stdout])
    assert result.returncode == 2
    assert result.stderr.startswith(b"amt: error: standard output is closed")
    from_stdin = " ".join(map(repr, stub_command("transcribe", "-", "-o", "a.mid"))) + " <&-"
    result = run(["sh", "-c", from_stdin])
    assert result.returncode == 2
    assert result.stderr == b"amt: error: standard input is closed\n"


@posix
def test_closed_standard_output_takes_no_result_away():
    for name in ("a.tsv", "b.tsv"):
        Path(name).write_text("onset\toffset\tnote\tvelocity\n0\t1\t60\t64\n")
    command = " ".join(map(repr, stub_command("evaluate", "a.tsv", "b.tsv", "--json", "r.json")))
    assert run(["sh", "-c", command + " >&-"]).returncode == 0
    assert json.loads(Path("r.json").read_text())["per_file"][0]["onset_f1"] == 1
    result = run(["sh", "-c", command.replace("r.json", "-") + " >&-"])
    assert result.returncode == 2
    assert result.stderr.startswith(b"amt: error: standard output is closed")


@pytest.mark.skipif(sys.platform != "linux", reason="lists open files in /proc")
def test_results_go_into_standard_streams_that_are_files():
    Path("a.wav").touch()
    Path("a.tsv").write_text("0\t1\t60\t64\n")
    Path("out").symlink_to("/proc/self/fd/1")
    Path("err").symlink_to("/proc/self/fd/2")

    def streams(*words):
        with Path("stdout").open("w+b") as stdout, Path("stderr").open("w+b") as stderr:
            stderr.write(b"before\n")
            stderr.flush()
            command = stub_command(*words)
            assert subprocess.run(command, stdout=stdout, stderr=stderr).returncode == 0
        assert Path("out").is_symlink() and Path("err").is_symlink()
        return Path("stdout").read_text(), Path("stderr").read_text()

    out, err = streams("transcribe", "a.wav", "-o", "err", "--format", "csv", "--overwrite")
    before, head, *_, summary = err.splitlines()
    assert (out, before, head[:6], summary[:8]) == ("", "before", "onset_", "a.wav ->")
    out, err = streams("transcribe", "a.wav", "--report", "err")
    before, record, summary = err.splitlines()
    assert (json.loads(record)["outputs"], summary[:8]) == (["a.mid"], "a.wav ->")
    out, err = streams("evaluate", "a.tsv", "a.tsv", "--csv", "out", "--errors", "err")
    assert out.startswith("1 piece")
    assert out.splitlines()[-2].startswith("name,reference,estimate,")
    assert err.splitlines()[1].startswith("piece,kind,onset_s,")


@posix
def test_reader_that_leaves_early_is_no_traceback():
    Path("a.wav").touch()
    process = subprocess.Popen(
        stub_command("transcribe", "a.wav", "-o", "-"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STUB_DELAY_S": "0.3"},
    )
    process.stdout.close()
    assert (process.wait(timeout=30), process.stderr.read()) == (141, b"")


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("transcribe", "a.wav", "-o", "-"), "amt: a.wav: "),
        (("evaluate", "a.tsv", "a.tsv"), "amt: error: "),
    ],
)
def test_full_standard_output_is_an_error(words, told):
    Path("a.wav").touch()
    Path("a.tsv").write_text("0\t1\t60\t64\n")
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            stub_command(*words),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    message = f"{told}standard output cannot be written: No space"
    assert result.stderr.decode().startswith(message)


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [("models",), ("doctor",), ("--version",), ("train", "--help")])
def test_nothing_that_is_printed_onto_a_full_disk_is_a_traceback(words):
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            stub_command(*words), stdout=full, stderr=subprocess.PIPE, timeout=60, check=False
        )
    assert result.returncode == 1
    message = b"amt: error: standard output or a file cannot be written: No space left on device\n"
    assert result.stderr == message


@pytest.mark.parametrize("program", ["installed", "module"])
def test_interrupt_while_starting_is_no_traceback(program):
    project = Path(__file__).parent.parent
    module, main = read_toml(project / "pyproject.toml")["project"]["scripts"]["amt"].split(":")
    script = f"from {module} import {main}; {main}()"  # as installers write it
    words = ["-c", script] if program == "installed" else ["-m", "amtcli"]
    Path("early").mkdir()
    Path("early/typer.py").write_text("raise KeyboardInterrupt\n")
    paths = os.pathsep.join([str(Path("early").absolute()), str(project)])
    result = run([sys.executable, *words], env={**os.environ, "PYTHONPATH": paths})
    assert (result.returncode, result.stdout) == (130, b"")
    assert result.stderr.splitlines() == [b"amt: interrupted"]


@posix
@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("SIGINT", 130, b"amt: interrupted\n"),
        ("SIGTERM", 143, b"amt: ended by SIGTERM\n"),
        ("SIGHUP", 129, b"amt: ended by SIGHUP\n"),
    ],
)
def test_signals_end_at_once_and_leave_no_partial_file(ending, code, message):
    for name in ("a.wav", "b.wav", "c.wav"):
        Path(name).touch()
    process = subprocess.Popen(
        stub_command("transcribe", "."),
        stderr=subprocess.PIPE,
        env={**os.environ, "STUB_DELAY_S": "0.4", "STUB_LOG": "log"},
    )
    while not Path("log").exists() or len(Path("log").read_text().split()) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(getattr(signal, ending))
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, message)
    assert sorted(p.name for p in Path().iterdir() if p.suffix != ".wav") == [
        "a.mid",
        "log",
        "state",
    ]


@posix
def test_what_was_kept_of_a_pipe_goes_with_a_program_that_is_ended():
    score = Path(__file__).parent / "data" / "demo.mid"
    os.mkfifo("sound")
    Path("kept").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "amtcli", "refine-velocity", str(score), "sound", "-o", "out.mid"],
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(Path("kept").absolute())},
    )
    with Path("sound").open("wb"):
        while not any(path.is_file() for path in Path("kept").rglob("*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, b"amt: ended by SIGTERM\n")
    assert list(Path("kept").iterdir()) == []
    assert not Path("out.mid").exists()


@posix
def test_interrupt_does_not_wait_for_audio_that_never_comes():
    process = subprocess.Popen(
        stub_command("transcribe", "-", "-o", "a.mid"),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "STUB_LOG": "log"},
    )
    while not Path("log").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert process.stderr.read().startswith(b"amt: interrupted")
    process.stdin.close()


@posix
def test_a_thread_that_waits_for_audio_changes_no_exit_code():
    program = (
        "import sys, threading, amtcli.cli\n"
        "def app(prog_name):\n"
        "    threading.Thread(target=sys.stdin.buffer.read, daemon=True).start()\n"
        "    print('done')\n"
        "    sys.exit(3)\n"
        "amtcli.cli.app = app\n"
        "amtcli.cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.wait(timeout=30) == 3
    assert (process.stdout.read().split(), process.stderr.read()) == ([b"done"], b"")
    process.stdin.close()


def test_completion_knows_the_commands():
    env = {
        **os.environ,
        "_AMT_COMPLETE": "complete_bash",
        "COMP_WORDS": "amt tra",
        "COMP_CWORD": "1",
    }
    result = run([sys.executable, "-m", "amtcli"], env=env)
    assert result.stdout.decode().split() == ["transcribe", "train"]
