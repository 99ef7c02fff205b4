"""Real data for the tests of this room; where there are none, those tests are skipped and say so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data(shared_data: Path) -> Path:
    """The folder of real data sets."""
    return shared_data


@pytest.fixture(scope="session")
def bad_inputs(real_data: Path) -> Path:
    folder = real_data / "bad_inputs"
    if not folder.is_dir():
        pytest.skip("CONVSCOPE_DATA has no bad_inputs/")
    return folder


@pytest.fixture(scope="session")
def cifar_folder(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with cifar10/cifar-10-batches-bin, unpacked once."""
    unpack = real_data / "cifar10" / "unpack.py"
    if not unpack.is_file():
        pytest.skip("CONVSCOPE_DATA has no cifar10/unpack.py")
    root = tmp_path_factory.mktemp("cifar")
    subprocess.run([sys.executable, str(unpack), str(root / "cifar10")], check=True, capture_output=True)
    return root


@pytest.fixture
def nothing_at_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No data folder and an empty user cache, which is returned."""
    monkeypatch.delenv("CONVSCOPE_DATA", raising=False)
    cache = tmp_path / "user-cache"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *names, **options: cache)
    return cache
