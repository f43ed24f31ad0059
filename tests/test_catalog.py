import dataclasses
import hashlib
import shutil
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
import torch
import toy_folder

from amtcli import catalog, checkpoints
from amtcli.catalog import list_models, locate, pull, resolve
from amtcli.errors import AmtError, ModelError
from amtcli.model_config import PublishedWeights, read_config
from amtcli.model_folder import load_model
from amtcli.model_writing import write_model

NAME = "toy"


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    """A catalog with one model, whose weights its author publishes as a file at a URL."""
    toy_folder.register(monkeypatch)
    folder = tmp_path / "shipped"
    (folder / NAME).mkdir(parents=True)
    monkeypatch.setattr(catalog, "shipped_folder", lambda: folder)
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("AMT_OFFLINE", raising=False)
    monkeypatch.setitem(checkpoints.ORIGINS, "toy", SimpleNamespace(read=torch.load))
    publish(tmp_path, folder, gain=2.0)
    return folder


def publish(tmp_path, shipped_folder, gain, version="1.2"):
    """Put a checkpoint where the shipped model says that it is."""
    checkpoint = tmp_path / "published.pt"
    torch.save(toy_folder.TENSORS | {"front_end.gain": torch.tensor([gain])}, checkpoint)
    sha256 = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    text = (
        "format = 1\n"
        '[network]\narchitecture = "toy-linear"\nn_in = 3\nn_out = 2\n'
        '[front_end]\nkind = "toy-gain"\nsample_rate_hz = 8000\n'
        "[window]\nlength_samples = 100\nhop_samples = 50\npadding_samples = 25\n"
        "[window.fast]\nhop_samples = 80\npadding_samples = 10\n"
        '[decoder]\nkind = "toy-threshold"\nthreshold = 0.5\n'
        "[precision]\nauto_bf16 = false\nauto_int8 = false\n"
        '[weights]\ncheckpoint = "toy"\ndtype = "float32"\n'
        '[[weights.sources]]\nkind = "distribution"\ndistribution = "no-such-distribution"\n'
        f'file = "x.pt"\nsha256 = "{sha256}"\n'
        f'[[weights.sources]]\nkind = "url"\nurl = "{checkpoint.as_uri()}"\n'
        f'size_bytes = 12345\nsha256 = "{sha256}"\n'
        f'[provenance]\nname = "toy"\nversion = "{version}"\ndescription = "a toy"\n'
        'data = "none"\nprotocol = "none"\nseed = 0\nsteps = 0\nlicence = "MIT"\n'
        "[provenance.scores]\n"
    )
    (shipped_folder / NAME / "model.toml").write_text(text)
    (shipped_folder / NAME / "README.md").write_text("# the card\n")
    return checkpoint


def edit_shipped(shipped_folder, old, new):
    path = shipped_folder / NAME / "model.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def unpublish(tmp_path):
    (tmp_path / "published.pt").unlink()


def gain_of(folder):
    return load_model(folder).front_end.gain.item()


def test_a_name_is_pulled_once_and_found_from_then_on(tmp_path):
    seen = []
    folder = resolve(NAME, on_progress=lambda *step: seen.append(step))
    assert folder == tmp_path / "data" / NAME
    assert gain_of(folder) == 2.0
    assert (folder / "README.md").read_text() == "# the card\n"
    assert seen[-1][2] == 12345
    unpublish(tmp_path)
    assert resolve(NAME) == resolve(NAME, offline=True) == pull(NAME) == folder
    assert [path.name for path in (tmp_path / "data").iterdir()] == [NAME]


def test_the_list_says_where_a_model_is(tmp_path, shipped):
    published = read_config(shipped / NAME).weights.sources[1]
    (available,) = list_models()
    assert (available.state, available.folder, available.size_bytes) == ("available", None, 12345)
    assert available.sha256 == published.sha256
    assert available.source == f"installed distribution no-such-distribution; {published.url}"
    folder = pull(NAME)
    (pulled,) = list_models()
    assert (pulled.state, pulled.folder) == ("pulled", folder)
    assert pulled.size_bytes == (folder / "weights.safetensors").stat().st_size
    assert pulled.sha256 == read_config(folder).weights.sha256
    write_model(tmp_path / "data" / "mine", toy_folder.CONFIG, toy_folder.TENSORS)
    (tmp_path / "data" / "broken").mkdir()
    (tmp_path / "data" / "broken" / "model.toml").write_text("format = 7")
    broken, mine, toy = list_models()
    assert [entry.state for entry in (broken, mine, toy)] == ["damaged", "imported", "pulled"]
    assert "format is 7" in broken.description
    (folder / "weights.safetensors").unlink()
    assert list_models()[-1].state == "damaged"


def test_a_model_shipped_with_its_weights_is_used_in_place(tmp_path, shipped):
    write_model(shipped / "small", toy_folder.CONFIG, toy_folder.TENSORS)
    assert resolve("small") == pull("small") == shipped / "small"
    assert list_models()[0].state == "shipped"
    assert not (tmp_path / "data").exists()


def test_a_folder_is_itself_and_a_shipped_one_stands_for_its_name(tmp_path, shipped):
    write_model(tmp_path / "mine", toy_folder.CONFIG, toy_folder.TENSORS)
    assert resolve(str(tmp_path / "mine")) == tmp_path / "mine"
    assert resolve(str(shipped / NAME)) == tmp_path / "data" / NAME
    (tmp_path / "link").symlink_to(shipped / NAME)
    assert resolve(str(tmp_path / "link")) == tmp_path / "data" / NAME


def test_the_home_of_nobody_is_no_model(shipped):
    with pytest.raises(ModelError, match="there is no model '~nobody-of-this-name/x'"):
        resolve("~nobody-of-this-name/x")


def test_a_copied_folder_without_weights_says_what_to_copy(tmp_path, shipped):
    shutil.copytree(shipped / NAME, tmp_path / "copy")
    with pytest.raises(ModelError, match=r"copy holds no weights.*amt models path toy"):
        load_model(resolve(str(tmp_path / "copy")))


def test_new_settings_reach_a_pulled_model_without_pulling(tmp_path, shipped):
    folder = pull(NAME)
    edit_shipped(shipped, "threshold = 0.5", "threshold = 0.6")
    (shipped / NAME / "README.md").write_text("# a better card\n")
    unpublish(tmp_path)
    assert resolve(NAME, offline=True) == folder
    assert load_model(folder).new_decoder(None).config.threshold == 0.6
    assert (folder / "README.md").read_text() == "# a better card\n"
    assert gain_of(folder) == 2.0


@pytest.mark.parametrize(("setting", "usable"), [("licence", True), ("threshold", False)])
def test_a_pulled_model_may_be_others_to_write(tmp_path, shipped, monkeypatch, setting, usable):
    folder = pull(NAME)
    old = {"licence": 'licence = "', "threshold": "threshold = 0.5"}[setting]
    new = {"licence": 'licence = "new ', "threshold": "threshold = 0.6"}[setting]
    edit_shipped(shipped, old, new)

    def refuse(*_, **__):
        raise AmtError("model.toml cannot be written: permission denied")

    monkeypatch.setattr("amtcli.catalog.rewrite_config", refuse)
    if usable:
        assert resolve(NAME) == folder
    else:
        with pytest.raises(AmtError, match="cannot be written"):
            resolve(NAME)


def test_a_new_version_is_pulled_anew(tmp_path, shipped):
    folder = pull(NAME)
    publish(tmp_path, shipped, gain=3.0, version="1.3")
    assert list_models()[0].state == "available"
    with pytest.raises(ModelError, match="cannot be pulled offline"):
        resolve(NAME, offline=True)
    assert gain_of(folder) == 2.0
    assert resolve(NAME) == folder
    assert gain_of(folder) == 3.0


def test_damaged_weights_are_pulled_again(tmp_path):
    folder = pull(NAME)
    (folder / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(ModelError, match="is damaged"):
        load_model(resolve(NAME))
    assert gain_of(pull(NAME)) == 2.0


def test_force_pulls_what_is_there(tmp_path, shipped):
    pull(NAME)
    publish(tmp_path, shipped, gain=4.0)
    assert gain_of(pull(NAME)) == 2.0
    assert gain_of(pull(NAME, force=True)) == 4.0


@pytest.mark.parametrize("by_environment", [True, False])
def test_offline_says_what_to_do(tmp_path, monkeypatch, by_environment):
    if by_environment:
        monkeypatch.setenv("AMT_OFFLINE", "1")
    message = r"toy is not here yet and cannot be pulled offline: run `amt models pull toy`"
    with pytest.raises(ModelError, match=message) as caught:
        resolve(NAME, offline=not by_environment)
    assert str(tmp_path / "data" / NAME) in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_a_pull_that_fails_names_each_reason_and_leaves_nothing(tmp_path):
    unpublish(tmp_path)
    with pytest.raises(ModelError) as caught:
        resolve(NAME)
    assert "no-such-distribution: not installed; file:///" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists()


def test_weights_with_another_hash_are_not_believed(tmp_path):
    (tmp_path / "published.pt").write_bytes(b"something else")
    with pytest.raises(ModelError, match="has sha256"):
        resolve(NAME)
    assert not (tmp_path / "data").exists()


def test_an_interrupted_pull_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(path):
        raise KeyboardInterrupt

    monkeypatch.setitem(checkpoints.ORIGINS, "toy", SimpleNamespace(read=interrupt))
    with pytest.raises(KeyboardInterrupt):
        resolve(NAME)
    assert list_models()[0].state == "available"
    assert not (tmp_path / "data").exists()


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AMT_MODEL_DIR", str(tmp_path / "file" / "models"))
    with pytest.raises(ModelError, match=r"models.toy cannot be written: Not a directory"):
        resolve(NAME)


def test_several_may_pull_at_once(tmp_path):
    results = []
    barrier = threading.Barrier(4)

    def work():
        barrier.wait()
        results.append(gain_of(resolve(NAME)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [2.0] * 4
    assert {path.name for path in (tmp_path / "data").iterdir()} == {NAME}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("toi", r"^there is no model 'toi'; did you mean 'toy'\? known models: toy$"),
        ("hft", r"^there is no model 'hft'; known models: toy$"),
        ("", r"^\. is no model"),
        ("x" * 5000, "there is no model 'xxx"),
        ("../shipped/toi", "there is no model"),
    ],
)
def test_an_unknown_name_is_answered_with_those_known(name, message):
    with pytest.raises(ModelError, match=message):
        resolve(name)
    with pytest.raises(ModelError, match=message):
        pull(name)


def test_a_folder_without_model_toml_is_no_model(tmp_path):
    with pytest.raises(ModelError, match=r"is no model: it has no model\.toml; known models: toy"):
        resolve(str(tmp_path))


def test_a_checkpoint_is_not_opened(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path / "executed").mkdir, ()

    torch.save(Bomb(), tmp_path / "bomb.pt")
    with pytest.raises(ModelError, match=r"bomb\.pt is a file; a model is a folder with model\."):
        resolve(str(tmp_path / "bomb.pt"))
    assert not (tmp_path / "executed").exists()


def test_what_was_not_pulled_cannot_be_pulled(tmp_path):
    write_model(tmp_path / "data" / "mine", toy_folder.CONFIG, toy_folder.TENSORS)
    assert locate("mine") == tmp_path / "data" / "mine"
    with pytest.raises(ModelError, match="mine was not pulled from anywhere"):
        pull("mine")


def test_the_accurate_model_is_the_default_once_it_has_been_pulled(tmp_path, shipped, monkeypatch):
    assert catalog.default_model() == "swift"  # the catalog of these tests has no accurate one
    monkeypatch.setattr(catalog, "ACCURATE_MODEL", NAME)
    assert catalog.default_model() == "swift"
    assert not (tmp_path / "data").exists()  # asking pulls nothing
    folder = pull(NAME)
    assert catalog.default_model() == NAME
    publish(tmp_path, shipped, gain=3.0, version="1.3")
    assert catalog.default_model() == "swift"  # what was pulled is another version
    folder = pull(NAME)
    (folder / "weights.safetensors").unlink()
    assert catalog.default_model() == "swift"


def test_models_are_listed_without_torch():
    code = "import sys; from amtcli.catalog import list_models, ACCURATE_MODEL; "
    code += "print(ACCURATE_MODEL in [e.name for e in list_models()], 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True False\n"


def test_the_shipped_models_can_be_read(monkeypatch):
    monkeypatch.undo()
    folder = catalog.shipped_folder()
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    shipped = {catalog.SHIPPED_MODEL, catalog.LIVE_MODEL, catalog.VELOCITY_MODEL}
    assert shipped | {catalog.ACCURATE_MODEL} <= set(names)
    for name in names:
        config = read_config(folder / name)
        assert config.provenance.name == name
        assert (folder / name / "README.md").read_text().startswith(f"# {name}\n")
        if isinstance(config.weights, PublishedWeights):
            assert config.weights.checkpoint in checkpoints.ORIGINS
            assert dataclasses.asdict(config)["weights"]["dtype"] == "float32"


def test_the_real_weights_are_loaded_into_the_real_network(transkun_folder):
    model = load_model(transkun_folder)
    n_parameters = sum(p.numel() for m in (model.front_end, model.network) for p in m.parameters())
    assert model.model_id == "transkun-v2 2.0"
    assert n_parameters == 13_613_711
    centers = torch.sigmoid(model.front_end.centers).tolist()
    assert centers == pytest.approx([0.34276, 0.44638, 0.49210, 0.58285, 0.72003], abs=1e-5)
