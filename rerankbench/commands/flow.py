"""`rerankbench eval` and `rerankbench train`: compose, check, run, show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def evaluate(words: Sequence[str], folders: Sequence[Path], multirun: bool = False) -> int:
    """Evaluate a reranker."""
    return _flow("eval", words, folders, multirun)


def train(words: Sequence[str], folders: Sequence[Path], multirun: bool = False) -> int:
    """Train a reranker."""
    return _flow("train", words, folders, multirun)


def _flow(command: str, words: Sequence[str], folders: Sequence[Path], multirun: bool) -> int:
    if multirun:
        from rerankbench.commands.sweep import sweep

        return sweep(command, words, folders)
    from rerankbench.commands.runnable import require_runnable
    from rerankbench.config.compose import compose

    composed = compose(command, words, folders)
    require_runnable(command, composed)
    if composed.config.dry_run:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(composed.config), end="")
        return 0
    from rerankbench.progress import talking
    from rerankbench.tracking.table import show

    if command == "train":
        from rerankbench.train import train as flow
    else:
        from rerankbench.evaluate import evaluate as flow
    with talking():
        folder = flow(composed)
    if folder is not None:  # only the first process of several has something to show
        show(folder)
    return 0
