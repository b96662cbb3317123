"""Several runs from one command: Hydra's multirun, on this machine or through its launchers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf


def sweep(command: str, overrides: Sequence[str], folders: Sequence[Path]) -> int:
    """Run every combination.

    A run's folder is named by a hash of its configuration, so a repeated sweep skips what is done. The configuration
    without the swept values is checked first: a typing mistake costs one line, not a sweep.
    """
    import hydra

    from rerankbench.compose import add_user_folders, compose
    from rerankbench.listing import conf_folder

    compose(command, [word for word in overrides if "," not in word and "range(" not in word], folders)
    search = ",".join(f"file://{folder.resolve()}" for folder in folders)
    extra = [f"hydra.searchpath=[{search}]"] if folders else []
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.sweep.dir=runs"]

    def job(config: DictConfig) -> str:
        add_user_folders(folders)
        return str(_one(command, config))

    argv, sys.argv = sys.argv, ["rerankbench", "--multirun", *quiet, *extra, *overrides]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=command)(job)()
    finally:
        sys.argv = argv
    return 0


def _one(command: str, config: DictConfig) -> Path:
    """One run of a sweep, in the process that the launcher chose."""
    from hydra.core.hydra_config import HydraConfig

    from rerankbench.evaluate import evaluate
    from rerankbench.progress import talking
    from rerankbench.store import content_hash
    from rerankbench.tracking.config_record import UNHASHED, resolved
    from rerankbench.tracking.table import show
    from rerankbench.train import train

    hydra_config: Any = HydraConfig.get()
    choices = {str(k): str(v) for k, v in hydra_config.runtime.choices.items() if not str(k).startswith("hydra/")}
    plain = OmegaConf.create(OmegaConf.to_container(config, resolve=False))
    assert isinstance(plain, DictConfig)
    if plain.run_dir is None:
        same = {key: value for key, value in resolved(plain).items() if key not in UNHASHED}
        name = "-".join(choices[group] for group in ("benchmark", "retriever", "reranker"))
        plain.run_dir = str(Path("runs") / "sweeps" / f"{plain.name or name}-{content_hash(same)[:10]}")
    with talking():
        path = (train if command == "train" else evaluate)(plain, choices)
    show(path)
    return path
