import pytest
from autoregressive_model import write_autoregressive

from amtcli.catalog import shipped_folder
from amtcli.errors import ModelError
from amtcli.model_facts import ModelFacts, model_facts


def test_facts_need_no_weights():
    facts = model_facts(shipped_folder() / "hppnet-tiny")
    assert facts == ModelFacts(151_172, window_s=20.48, hop_s=15.36, live_latency_s=None)


def test_a_causal_model_has_a_latency(tmp_path):
    folder = write_autoregressive(tmp_path / "small", label_shift_frames=2)
    (folder / "weights.safetensors").unlink()
    assert model_facts(folder).live_latency_s == pytest.approx(0.096)


def test_settings_that_cannot_be_built_are_refused(tmp_path):
    folder = write_autoregressive(tmp_path / "small")
    config = folder / "model.toml"
    config.write_text(config.read_text().replace('"autoregressive"', '"unheard-of"'))
    with pytest.raises(ModelError, match="unknown architecture 'unheard-of'"):
        model_facts(folder)
