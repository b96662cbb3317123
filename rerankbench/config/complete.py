"""A composed configuration made whole: every key that its targets take, with its default where no file sets it.

So a default stands in one place, the signature, and still every key can be set, is shown, and is recorded.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from rerankbench.config.signature import Parameter, as_node, parameters
from rerankbench.config.targets import resolve

STAGE_PARTS = ("groups", "loss", "weighting", "adaptation", "loop")
"""What a stage takes from its recipe where it does not name its own."""

_STAGE = re.compile(r"(recipe\.stages\.[^.]+)(?:\.([^.]+).*)?")


def complete(node: Any, key: str, folders: Sequence[Path], stage_parts: bool = True) -> None:
    """Add what is missing to every node with a `_target_`, in place; what must be given becomes `???`.

    stage_parts: also those that a stage may still get from its recipe (see `share_stage_parts`).
    """
    if isinstance(node, ListConfig):
        for index in range(len(node)):
            complete(node._get_node(index), f"{key}[{index}]", folders, stage_parts)
    if not _is_mapping(node):
        return
    stage = None if stage_parts else _STAGE.fullmatch(key)
    for name, parameter in _parameters(node, key, folders).items():
        shared = stage is not None and stage[2] is None and name in STAGE_PARTS
        if node._get_node(name) is None and not shared:  # `in` would not see ???
            node[name] = "???" if parameter.required else as_node(parameter.default)
    for name in map(str, list(node)):
        complete(node._get_node(name), f"{key}.{name}" if key else name, folders, stage_parts)


def drop_unused(config: DictConfig, folders: Sequence[Path], keep: Collection[str]) -> None:
    """Remove, in place, a `model` or `prompt` inside the reranker that its owner does not take.

    A reranker's file brings them for its own scorer; the one that was chosen instead may need none, and `trained` has
    no scorer at all. keep: places that were chosen by name; the check refuses what is wrong there.
    """

    def drop(node: DictConfig, place: str) -> None:
        known = _parameters(node, place, folders)
        for name in map(str, list(node)):
            inner, at = node._get_node(name), f"{place}.{name}"
            if name in ("model", "prompt") and name not in known:
                if at not in keep:
                    del node[name]
            elif isinstance(inner, DictConfig) and _is_mapping(inner) and len(inner) > 0:
                drop(inner, at)
                if len(inner) == 0:
                    del node[name]

    reranker = config._get_node("reranker")
    if isinstance(reranker, DictConfig) and _is_mapping(reranker):
        drop(reranker, "reranker")


def share_stage_parts(config: DictConfig, folders: Sequence[Path]) -> None:
    """Give each stage of the recipe, in place, the recipe's parts that it takes and does not name.

    A part of which a stage sets some keys only is the recipe's with those keys changed.
    """
    recipe: Any = config.get("recipe")
    stages: Any = recipe.get("stages") if isinstance(recipe, DictConfig) else None
    for name in map(str, stages if isinstance(stages, DictConfig) else ()):
        stage: Any = stages._get_node(name)
        taken = _parameters(stage, f"recipe.stages.{name}", folders)
        for part in STAGE_PARTS:
            if part not in taken or (shared := recipe._get_node(part)) is None:
                continue
            own = stage._get_node(part)
            if own is None:
                stage[part] = shared
            elif _is_mapping(own) and "_target_" not in own:
                stage[part] = OmegaConf.merge(shared, own)


def is_stage_part(config: DictConfig, place: str) -> bool:
    """Whether a key is (in) a part of a stage, which need not be there before the stage gets its recipe's."""
    stage = _STAGE.fullmatch(place)
    return stage is not None and stage[2] in STAGE_PARTS and node_at(config, stage[1]) is not None


def node_at(config: DictConfig, place: str) -> Any:
    """The node at a dotted place, None where there is none."""
    try:
        return OmegaConf.select(config, place, throw_on_missing=False) if place else config
    except Exception:  # an interpolation to nowhere, a key of what is no mapping
        return None


def has(config: DictConfig, place: str) -> bool:
    """Whether there is such a key, be its value missing or null."""
    around, _, name = place.rpartition(".")
    node = node_at(config, around)
    return isinstance(node, DictConfig) and node._get_node(name) is not None


def _parameters(node: Any, key: str, folders: Sequence[Path]) -> dict[str, Parameter]:
    """The parameters of the node's target; none for a node without one."""
    target = node._get_node("_target_") if _is_mapping(node) else None
    if target is None or not isinstance(target._value(), str):
        return {}
    place = f"{key}._target_" if key else "_target_"
    return parameters(resolve(target._value(), place, folders), key)


def _is_mapping(node: Any) -> bool:
    return isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation())
