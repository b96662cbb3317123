"""What there is to choose from: every group, every option, and the first comment line of its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

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
