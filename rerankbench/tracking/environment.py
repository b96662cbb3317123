"""What a run ran on: code, interpreter, packages, processor, graphics. Nothing that names a person or a host."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import rerankbench

_PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers", "peft", "trl", "safetensors", "gguf",
             "bm25s", "rank-bm25", "PyStemmer", "ir_datasets", "ranx", "numba", "numpy", "scipy", "hydra-core",
             "omegaconf", "mlflow")  # fmt: skip
_FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx512_bf16": "avx512_bf16",
    "amx_tile": "amx",
}


def environment() -> dict[str, Any]:
    """JSON values: versions, git state of the code, processor with what it can do, memory, graphics processors."""
    return {
        "rerankbench": rerankbench.__version__,
        "git": _git(Path(__file__).resolve().parent),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "memory_mb": _memory_mb(),
        "gpus": _gpus(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
    }


def _git(folder: Path) -> dict[str, Any] | None:
    """Revision and whether tracked files differ from it; None outside a checkout of this package."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        # An installed package may lie inside a checkout of something else: only ours counts.
        if not git("ls-files", "--", "environment.py"):
            return None
        revision = git("rev-parse", "HEAD")
        return {"revision": revision, "dirty": bool(git("status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _cpu() -> dict[str, Any]:
    text = _read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    present = set(flags[1].split()) if flags else set()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": model[1].strip() if model else platform.processor() or platform.machine(),
        "cores": usable,
        "flags": [name for flag, name in _FLAGS.items() if flag in present],
    }


def _memory_mb() -> int | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(found[1]) // 1024 if found else None


def _gpus() -> list[str]:
    """Names of the graphics processors, if torch is loaded anyway."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return []
    return [str(torch.cuda.get_device_name(i)) for i in range(torch.cuda.device_count())]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
