"""What earlier versions called by other names: targets that moved, keys that were renamed, stages without names."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rerankbench.config.complete import complete
from rerankbench.errors import ConfigError

log = logging.getLogger("rerankbench")

MOVED_TARGETS = {
    "rerankbench.models.endpoint.Endpoint": "rerankbench.models.endpoint.endpoint.Endpoint",
    "rerankbench.models.vector_prf.VectorPRF": "rerankbench.models.encoders.vector_prf.VectorPRF",
    "rerankbench.models.vllm.VLLM": "rerankbench.models.lm.vllm.VLLM",
    "rerankbench.rerankers.passages.Passages": "rerankbench.rerankers.wrappers.passages.Passages",
    "rerankbench.rerankers.prompt.Prompt": "rerankbench.prompt.Prompt",
    "rerankbench.retrievers.analysis.Analyzer": "rerankbench.retrievers.analyzer.Analyzer",
    "rerankbench.training.adaptation.full.full": "rerankbench.training.adaptation.full.Full",
}

RENAMED_KEYS = {"recompute": "activation_checkpointing", "below": "base_adapters"}
"""Keys of parts of a recipe."""


def renamed(place: str) -> str:
    """A dotted key with its parts as they are called now."""
    return ".".join(RENAMED_KEYS.get(part, part) for part in place.split("."))


def upgrade(config: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """A run folder's configuration as this version writes it, and whether that changed anything.

    The top-level `model` and `prompt` of earlier versions are dropped: a recorded reranker holds its own.
    """
    new = {str(key): _upgraded(value) for key, value in config.items()}
    for short in ("model", "prompt"):
        if "reranker" in new and f"${{{short}" not in str(new["reranker"]):
            new.pop(short, None)
    recipe = new.get("recipe")
    if isinstance(recipe, dict) and isinstance(stages := recipe.get("stages"), list):
        names = _stage_names(stages)
        recipe["stages"] = {
            name: {key: value for key, value in stage.items() if key != "name"}
            for name, stage in zip(names, stages, strict=True)
        }
        for part in (recipe, *recipe["stages"].values()):
            adaptation = part.get("adaptation")
            if isinstance(adaptation, dict) and (base := adaptation.get("base_adapters")):
                adaptation["base_adapters"] = [_reference(text, names) for text in base]
    return new, new != dict(config)


def upgraded(config: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """`upgrade`, completed with the defaults that an earlier version left out, and with a line in the log."""
    new, changed = upgrade(config)
    if not changed:
        return new
    log.info("%s was written by an earlier version; read with the names of this one", file)
    whole = OmegaConf.create(new)
    with suppress(ConfigError):  # parts from a folder of one's own, which is not known here
        complete(whole, "", ())
    return {str(key): value for key, value in OmegaConf.to_container(whole, resolve=False).items()}  # type: ignore[union-attr]


def _upgraded(node: Any) -> Any:
    if isinstance(node, list):
        return [_upgraded(inner) for inner in node]
    if not isinstance(node, Mapping):
        return node
    target = str(node.get("_target_", ""))
    of_recipe = target.startswith("rerankbench.training.")
    new = {RENAMED_KEYS.get(key, key) if of_recipe else key: _upgraded(value) for key, value in node.items()}
    if target in MOVED_TARGETS:
        new["_target_"] = MOVED_TARGETS[target]
    return new


def _stage_names(stages: list[dict[str, Any]]) -> list[str]:
    """A name for each stage of a list: its own, else the one that the recipes give it now."""
    unnamed = [number for number, stage in enumerate(stages) if not stage.get("name")]
    given = ["supervised" if len(stages) == 1 else "ranking"] if len(unnamed) == 1 else ["first", "second", "third"]
    default = dict(zip(unnamed, given, strict=False))
    return [str(stage.get("name") or default.get(number, f"stage_{number}")) for number, stage in enumerate(stages)]


def _reference(text: Any, names: list[str]) -> Any:
    """The name of what an earlier version called `stage 0`."""
    _, stage, number = str(text).rpartition("stage ")
    return names[int(number)] if stage and number.isdigit() and int(number) < len(names) else text
