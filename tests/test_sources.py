import hashlib
import http.server
import importlib.metadata
import os
import sys
import threading
import zipfile

import pytest

from amtcli import sources
from amtcli.errors import ModelError
from amtcli.sources import DistributionSource, PackageSource, UrlSource, fetch

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
FILE = "toypack/pretrained/2.0.pt"
METADATA = "Metadata-Version: 2.1\nName: toypack\nVersion: 2.0.1\nRequires-Python: >=9\n"


def distribution(sha256=SHA256):
    return DistributionSource("toypack", FILE, sha256)


def package(sha256=SHA256, file=FILE):
    return PackageSource("toypack==2.0.1", file, 10_000_000, sha256)


def make_wheel(folder):
    """A wheel for a Python that does not exist yet: it is to be opened, not installed."""
    path = folder / "toypack-2.0.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(FILE, CONTENT)
        wheel.writestr("toypack/__init__.py", "raise SystemExit('imported')\n")
        wheel.writestr("toypack-2.0.1.dist-info/METADATA", METADATA)
        wheel.writestr(
            "toypack-2.0.1.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("toypack-2.0.1.dist-info/RECORD", "")
    return path


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """The only place where pip may look."""
    pytest.importorskip("pip")
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution on the import path, whose code must not be run."""
    site = tmp_path / "site"
    (site / "toypack" / "pretrained").mkdir(parents=True)
    (site / FILE).write_bytes(CONTENT)
    (site / "toypack" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (site / "toypack-2.0.1.dist-info").mkdir()
    (site / "toypack-2.0.1.dist-info" / "METADATA").write_text(METADATA)
    monkeypatch.syspath_prepend(site)
    return site


@pytest.fixture
def downloads(tmp_path):
    (tmp_path / "downloads").mkdir()
    return tmp_path / "downloads"


@pytest.fixture
def server(monkeypatch):
    """An HTTP server: /good, /cut (ends early), anything else is not found."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path not in ("/good", "/cut"):
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT if self.path == "/good" else CONTENT[:100])

        def log_message(self, *args):
            pass

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_an_installed_distribution_gives_its_file_in_place(installed, downloads):
    assert fetch([distribution()], downloads) == installed / FILE
    assert "toypack" not in sys.modules


def test_an_installed_distribution_without_the_file_gives_its_version(installed, downloads):
    (installed / FILE).unlink()
    with pytest.raises(ModelError, match=r"installed distribution toypack: version 2\.0\.1 has no"):
        fetch([distribution()], downloads)


def test_a_package_is_opened_and_not_installed(wheels, downloads):
    make_wheel(wheels)
    seen = []
    path = fetch([package()], downloads, on_progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(downloads)
    assert seen
    assert all(step[0] == "package toypack==2.0.1" and step[2] == 10_000_000 for step in seen)
    with pytest.raises(importlib.metadata.PackageNotFoundError):
        importlib.metadata.distribution("toypack")


def test_a_package_that_pip_does_not_find_is_told_in_pips_words(wheels, downloads):
    with pytest.raises(ModelError, match=r"toypack==2\.0\.1: ERROR: No matching distribution") as e:
        fetch([package()], downloads)
    assert "\n" not in str(e.value)


def test_a_package_without_the_file_is_told(wheels, downloads):
    make_wheel(wheels)
    with pytest.raises(ModelError, match=r"toypack-2\.0\.1-py3-none-any\.whl has no file other"):
        fetch([package(file="other.pt")], downloads)


def test_a_wheel_that_is_cut_short_cannot_be_unpacked(tmp_path):
    wheel = make_wheel(tmp_path)
    wheel.write_bytes(wheel.read_bytes()[:200])
    with pytest.raises(sources.SourceError, match="cannot be unpacked"):
        sources._take_from_wheel(wheel, FILE, tmp_path)


def test_a_pip_in_the_current_folder_is_not_run(wheels, downloads, tmp_path, monkeypatch):
    make_wheel(wheels)
    (tmp_path / "pip.py").write_text("open('executed', 'w')\n")
    monkeypatch.chdir(tmp_path)
    assert fetch([package()], downloads).read_bytes() == CONTENT
    assert not (tmp_path / "executed").exists()


def test_without_pip_its_place_is_taken_by_uv_then_by_a_pip_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    programs = {"uv": "/bin/uv", "pip": "/bin/pip"}
    monkeypatch.setattr(sources.shutil, "which", programs.get)
    uv = sources._package_command("toypack==2.0.1", tmp_path)
    assert uv[:3] == ["/bin/uv", "pip", "install"]
    assert uv[uv.index("--target") + 1] == str(tmp_path)
    del programs["uv"]
    pip = sources._package_command("toypack==2.0.1", tmp_path)
    assert pip[:2] == ["/bin/pip", "download"]
    assert pip[-3:] == ["--dest", str(tmp_path), "toypack==2.0.1"]
    del programs["pip"]
    with pytest.raises(sources.SourceError, match=r"neither pip nor uv found; run .*ensurepip"):
        sources._package_command("toypack==2.0.1", tmp_path)


def test_a_package_that_was_unpacked_needs_no_wheel(downloads, monkeypatch):
    code = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(parents=True);"
    code += "p.write_bytes(bytes(range(256)) * 40)"
    monkeypatch.setattr(
        sources,
        "_package_command",
        lambda requirement, target: [sys.executable, "-c", code, str(target / FILE)],
    )
    assert fetch([package()], downloads).read_bytes() == CONTENT


@pytest.mark.skipif(sys.platform == "win32", reason="looks for the process by signal 0")
def test_an_interruption_ends_the_installer(downloads, monkeypatch):
    pid_file = downloads / "pid"
    code = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    monkeypatch.setattr(
        sources,
        "_package_command",
        lambda requirement, target: [sys.executable, "-c", code, str(pid_file)],
    )

    def interrupt(what, done, total):
        if pid_file.exists() and pid_file.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([package()], downloads, on_progress=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_url_is_downloaded_with_progress(server, downloads):
    seen = []
    source = UrlSource(f"{server}/good", len(CONTENT), SHA256)
    path = fetch([source], downloads, on_progress=lambda *step: seen.append(step))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (f"{server}/good", len(CONTENT), len(CONTENT))


@pytest.mark.parametrize(
    ("path", "reason"),
    [("/none", "Not Found"), ("/cut", "download has sha256 .*, expected")],
)
def test_a_download_that_fails_is_told(server, downloads, path, reason):
    with pytest.raises(ModelError, match=f"{path}: {reason}"):
        fetch([UrlSource(server + path, len(CONTENT), SHA256)], downloads)


def test_a_server_that_is_not_there_is_told(monkeypatch, downloads):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(ModelError, match="refused"):
        fetch([UrlSource("http://127.0.0.1:9/x", 1, SHA256)], downloads)


def test_the_next_source_is_asked_when_a_hash_is_wrong(installed, server, downloads):
    url = UrlSource(f"{server}/good", len(CONTENT), SHA256)
    (installed / FILE).write_bytes(b"another version")
    assert fetch([distribution(), url], downloads).read_bytes() == CONTENT


def test_when_all_fail_each_has_its_reason(installed, server, downloads):
    wrong = "0" * 64
    url = UrlSource(f"{server}/good", len(CONTENT), wrong)
    with pytest.raises(ModelError) as caught:
        fetch([distribution(wrong), url], downloads)
    expected = f"has sha256 {SHA256[:12]}…, expected 000000000000…"
    assert str(caught.value) == (
        f"installed distribution toypack: 2.0.pt {expected}; {server}/good: download {expected}"
    )


def test_offline_nothing_connects(installed, downloads, monkeypatch):
    def connect(*args):
        raise AssertionError("connected")

    monkeypatch.setattr(PackageSource, "fetch", connect)
    monkeypatch.setattr(UrlSource, "fetch", connect)
    connecting = [package(), UrlSource("http://127.0.0.1:9/x", 1, SHA256)]
    assert fetch([*connecting, distribution()], downloads, offline=True) == installed / FILE
    with pytest.raises(ModelError, match=r"==2\.0\.1: left out \(offline\); http.*left out"):
        fetch(connecting, downloads / "again", offline=True)
