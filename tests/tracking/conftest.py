"""A finished run folder, small and with every file."""

from pathlib import Path

import pytest

from rerankbench.tracking.run_folder import RunFolder
from tests.tracking.toy_run import CONFIG, fill, fill_training


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "2026-01-02" / "03-04-05-toy"
    with RunFolder(path, CONFIG) as folder, folder.recording():
        fill(folder)
    return path


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """The same of a training."""
    path = tmp_path / "runs" / "2026-01-02" / "03-04-06-trained"
    with RunFolder(path, CONFIG) as folder, folder.recording():
        fill_training(folder)
    return path
