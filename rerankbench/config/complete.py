"""A composed configuration made whole: every key that its targets take, with its default where no file sets it.

So a default stands in one place, the signature, and still every key can be set, is shown, and is written down.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from rerankbench.config.signature import as_node, parameters
from rerankbench.config.targets import resolve

STAGE_PARTS = ("groups", "loss", "weighting", "adaptation", "loop")
"""What a stage takes from its recipe where it does not name its own."""


_STAGE = re.compile(r"recipe\.stages\.[^.]+")


def complete(node: Any, key: str, folders: Sequence[Path], stage_parts: bool = True) -> None:
    """Add what is missing to every node with a `_target_`, in place; what must be given becomes `???`.

    stage_parts: also those that a stage may still get from its recipe (see `share_stage_parts`).
    """
    if isinstance(node, ListConfig):
        for index in range(len(node)):
            complete(node._get_node(index), f"{key}[{index}]", folders, stage_parts)
    if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
        return
    target = node._get_node("_target_")
    if target is not None and isinstance(target._value(), str):
        place = f"{key}." if key else ""
        known = parameters(resolve(target._value(), f"{place}_target_", folders), key)
        for name, parameter in known.items():
            shared = not stage_parts and name in STAGE_PARTS and _STAGE.fullmatch(key)
            if name not in node and not shared:
                node[name] = "???" if parameter.required else as_node(parameter.default)
    for name in map(str, list(node)):
        complete(node._get_node(name), f"{key}.{name}" if key else name, folders, stage_parts)


def is_stage_part(place: str) -> bool:
    """Whether a key is (in) a part of a stage, which need not be there before the stage gets its recipe's."""
    stage = _STAGE.match(place)
    return stage is not None and place[stage.end() + 1 :].split(".")[0] in STAGE_PARTS


def share_stage_parts(config: DictConfig, folders: Sequence[Path]) -> None:
    """Give each stage of the recipe, in place, the recipe's parts that it takes and does not name.

    A part of which a stage sets some keys only is the recipe's with those keys changed.
    """
    recipe: Any = config.get("recipe")
    stages: Any = recipe.get("stages") if isinstance(recipe, DictConfig) else None
    for name in map(str, stages if isinstance(stages, DictConfig) else ()):
        stage = stages[name]
        taken = parameters(resolve(stage["_target_"], f"recipe.stages.{name}._target_", folders))
        for part in STAGE_PARTS:
            shared, own = recipe._get_node(part), stage._get_node(part)
            if part not in taken or shared is None:
                continue
            if own is None:
                stage[part] = shared
            elif isinstance(own, DictConfig) and not own._is_none() and "_target_" not in own:
                stage[part] = OmegaConf.merge(shared, own)
