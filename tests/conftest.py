"""What tests share: the models and data that not every machine has."""

import os
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT / "tests"))


@pytest.fixture(scope="session")
def transkun_folder():
    """The folder of transkun-v2 with weights, pulled once; skips where they cannot be had."""
    from amtcli.catalog import pull
    from amtcli.errors import ModelError

    try:
        return pull("transkun-v2")
    except ModelError as error:
        pytest.skip(f"the weights of transkun-v2 are not to be had here: {error}")


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real recordings (AMT_DATA, or shared/data beside the project)."""
    folder = Path(os.environ.get("AMT_DATA", PROJECT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data at {folder}; set AMT_DATA to the folder that holds maps/")
    return folder


@pytest.fixture(scope="session")
def demo_audio():
    """The recording that the project made itself: 43 s of piano, 44.1 kHz stereo."""
    return PROJECT / "tests" / "data" / "demo.flac"
