"""Several runs from one command: Hydra's multirun, on this machine or through its launchers."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from rerankbench.commands.runnable import require_runnable
from rerankbench.config.compose import Composed, compose, sized
from rerankbench.config.options import use_folders
from rerankbench.errors import ConfigError, UserError

QUIET = ("hydra.output_subdir=null", "hydra/job_logging=none", "hydra/hydra_logging=none", "hydra.sweep.dir=runs",
         "hydra.sweep.subdir=.")  # fmt: skip
"""No folders and logs of Hydra's beside those of the runs."""


def sweep(command: str, words: Sequence[str], folders: Sequence[Path]) -> int:
    """Run every combination.

    A run's folder is named by a hash of its configuration, so a repeated sweep skips what is done. Every value is
    checked in one combination first: a typing mistake costs one line, not a sweep. A run that fails says so at once,
    the others continue, and the exit code is 1.

    Hydra's sweeper and launcher see the swept words only, each as one key without dots; a run composes as a single
    run does, which also knows what Hydra does not (`model=…`).
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import CompactHydraException

    use_folders(folders)
    of_hydra = [word for word in words if word.lstrip("+~").startswith(("hydra.", "hydra/"))]
    words = sized([word for word in words if word not in of_hydra], folders)
    checked: set[str] = set()
    for combination in _combinations(words, of_hydra):
        if not checked.issuperset(combination):
            composed = compose(command, combination, folders)
            require_runnable(command, composed)
            checked.update(combination)
        if composed.config.dry_run:
            print(" ".join(combination))
    if composed.config.dry_run:
        return 0
    swept = {_flat(word): word.partition("=")[0] for word in words if _is_swept(word)}

    def job(config: DictConfig) -> str:
        use_folders(folders)
        values = {_flat(word): word.partition("=")[2] for word in HydraConfig.get().overrides.task}
        run = [f"{swept[_flat(word)]}={values[_flat(word)]}" if _flat(word) in swept else word for word in words]
        try:
            return str(_one(command, compose(command, run, folders)))
        except Exception as error:
            why = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
            print(f"error: {' '.join(run)}: {why}", file=sys.stderr)
            if isinstance(error, UserError):
                raise CompactHydraException(why) from None  # which Hydra shows without a trace
            raise

    for_hydra = [f"+{_flat(word)}={word.partition('=')[2]}" for word in words if _flat(word) in swept]
    argv, sys.argv = sys.argv, ["rerankbench", "--multirun", *QUIET, *of_hydra, *for_hydra]
    try:
        hydra.main(version_base="1.3", config_path=None, config_name=None)(job)()
    finally:
        sys.argv = argv
    return 0


def _combinations(words: Sequence[str], of_hydra: Sequence[str]) -> list[list[str]]:
    """The words of each run, as Hydra's own sweeper makes them; for other sweepers, those that are not swept."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_overrides(list(words))
        if any(word.startswith("hydra/sweeper=") for word in of_hydra):
            return [[str(o.input_line) for o in parsed if not o.is_sweep_override()]]
        return [list(batch) for batches in BasicSweeper.split_arguments(parsed, None) for batch in batches]
    except HydraException as error:
        raise ConfigError("", f"cannot read the overrides: {str(error).splitlines()[0]}") from error


def _is_swept(word: str) -> bool:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return bool(OverridesParser.create().parse_override(word).is_sweep_override())


def _flat(word: str) -> str:
    """A word's key as one that Hydra takes for a plain key: reranker_scorer_model for model@reranker.scorer.model."""
    return re.sub(r"\W", "_", word.lstrip("+").partition("=")[0])


def _one(command: str, composed: Composed) -> Path | None:
    """One run of a sweep, in the process that the launcher chose."""
    from rerankbench.evaluate import evaluate
    from rerankbench.progress import talking
    from rerankbench.store import content_hash
    from rerankbench.tracking.config_record import UNHASHED, resolved
    from rerankbench.tracking.table import show
    from rerankbench.train import train

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
