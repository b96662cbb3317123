"""What composes but cannot run is refused before anything loads."""

from __future__ import annotations

from rerankbench.config.build import build
from rerankbench.config.compose import Composed
from rerankbench.evaluate import configured_measures


def require_runnable(command: str, composed: Composed) -> None:
    """Raises ConfigError for what composes but cannot run: unknown measures, a reranker that no recipe can train."""
    from rerankbench.training.run import trainable_scorer

    configured_measures(composed.parts)
    if command == "train":
        reranker = build(composed.parts["reranker"], "reranker", benchmark=None, folders=composed.folders)
        trainable_scorer(reranker, build(composed.parts["recipe"], "recipe"))
