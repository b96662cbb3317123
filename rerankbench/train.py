"""Train: benchmark → groups → stages → checkpoint → evaluation. No recipe exists yet, and it says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from omegaconf import DictConfig

from rerankbench.errors import ConfigError


def train(config: DictConfig, choices: Mapping[str, str]) -> Path:
    """Refuses: this version has no training recipe."""
    raise ConfigError("recipe", "this version has no training recipes yet; `rerankbench eval` evaluates rerankers")
