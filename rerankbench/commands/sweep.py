"""Several runs from one command: Hydra's multirun, on this machine or through its launchers."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from rerankbench.errors import ConfigError, UserError


def sweep(command: str, overrides: Sequence[str], folders: Sequence[Path]) -> int:
    """Run every combination.

    A run's folder is named by a hash of its configuration, so a repeated sweep skips what is done. Every value is
    checked in one combination first: a typing mistake costs one line, not a sweep. A run that fails says so at once,
    the others go on, and the exit code is 1.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException

    from rerankbench.config.compose import compose, sized, use_folders
    from rerankbench.config.options import conf_folder

    overrides = sized(overrides, folders)
    checked: set[str] = set()
    for words in _combinations(overrides):
        if not checked.issuperset(words):
            compose(command, words, folders)
            checked.update(words)
    search = ",".join(f"file://{folder.resolve()}" for folder in folders)
    extra = [f"hydra.searchpath=[{search}]"] if folders else []
    quiet = ["hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.sweep.dir=runs"]
    quiet += ["hydra.sweep.subdir=."]  # no folders of Hydra's beside those of the runs

    def job(config: DictConfig) -> str:
        use_folders(folders)
        try:
            return str(_one(command, folders))
        except Exception as error:
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            print(f"error: {' '.join(HydraConfig.get().overrides.task)}: {why}", file=sys.stderr)
            if isinstance(error, UserError):
                raise CompactHydraException(why) from None  # which Hydra shows without a trace
            raise

    argv, sys.argv = sys.argv, ["rerankbench", "--multirun", *quiet, *extra, *_for_hydra(command, overrides, folders)]
    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=command)(job)()
    finally:
        sys.argv = argv
    return 0


def _combinations(overrides: Sequence[str]) -> list[list[str]]:
    """The overrides of each run, as Hydra's own sweeper makes them; for other sweepers, those that are not swept."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        if any(str(override.key_or_group) == "hydra/sweeper" for override in parsed):
            return [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
        return [list(words) for batch in BasicSweeper.split_arguments(parsed, max_batch_size=None) for words in batch]
    except HydraException as error:
        raise ConfigError("", f"cannot read the overrides: {str(error).splitlines()[0]}") from error


def _one(command: str, folders: Sequence[Path]) -> Path | None:
    """One run of a sweep, in the process that the launcher chose, composed as a single run is."""
    from hydra.core.hydra_config import HydraConfig

    from rerankbench.config.compose import compose
    from rerankbench.evaluate import evaluate
    from rerankbench.progress import talking
    from rerankbench.store import content_hash
    from rerankbench.tracking.config_record import UNHASHED, resolved
    from rerankbench.tracking.table import show
    from rerankbench.train import train

    composed = compose(command, [word.lstrip("+") for word in HydraConfig.get().overrides.task], folders)
    config, choices = composed.config, composed.choices
    if config.run_dir is None:
        same = {key: value for key, value in resolved(config).items() if key not in UNHASHED}
        named = ("benchmark", "reranker", "recipe") if command == "train" else ("benchmark", "retriever", "reranker")
        name = "-".join(choices[group] for group in named)
        config.run_dir = str(Path("runs") / "sweeps" / f"{config.name or name}-{content_hash(same)[:10]}")
        composed = replace(composed, parts={**composed.parts, "run_dir": config.run_dir})
    with talking():
        path = (train if command == "train" else evaluate)(composed)
    if path is not None:  # only the first process of several has something to show
        show(path)
    return path


def _for_hydra(command: str, words: Sequence[str], folders: Sequence[Path]) -> list[str]:
    """The words as Hydra's own composition takes them, which only has to hand them to the jobs: `compose` reads them.

    A value may be one that no file has, and a choice may have a place that no file has.
    """
    from rerankbench.config.options import groups

    known = {*groups(folders), "experiment", "size"}
    changed = []
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        if word[:1] in "+~" or key.startswith("hydra"):
            changed.append(word)
        elif key.partition("@")[0] not in known:
            changed.append(f"++{word}")
        else:
            changed.append(f"+{word}" if "@" in key or key in ("model", "prompt") else word)
    return changed
