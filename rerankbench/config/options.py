"""What there is to choose from: every group, every option, and the first comment line of its file."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rerankbench.errors import ConfigError

Groups = Mapping[str, Mapping[str, Path]]


def conf_folder() -> Path:
    """The packaged configuration: inside the package in a wheel, beside it in a checkout."""
    packaged = Path(__file__).resolve().parents[1] / "conf"
    return packaged if packaged.is_dir() else packaged.parents[1] / "conf"


def groups(folders: Sequence[Path] = ()) -> dict[str, dict[str, Path]]:
    """Every group with its options and their files: {"reranker/scorer": {"oracle": path}}."""
    found: dict[str, dict[str, Path]] = {}
    for root in (conf_folder(), *folders):
        for file in sorted(root.rglob("*.yaml")):
            group = file.parent.relative_to(root).as_posix()
            if group != ".":
                found.setdefault(group, {}).setdefault(file.stem, file)
    return found


def description(file: Path) -> str:
    """The first comment line that is not Hydra's `# @package`; empty if there is none."""
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("# @package"):
                continue
            return line[1:].strip() if line.startswith("#") else ""
    return ""


def use_folders(folders: Sequence[Path]) -> None:
    """Let Python files of these folders be imported. Raises ConfigError for one that does not exist."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError("--config-dir", f"no such folder: {folder}")
        if str(folder.resolve()) not in sys.path:
            sys.path.insert(0, str(folder.resolve()))
