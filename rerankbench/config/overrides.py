"""The words of the command line: which choose an option of a group, which set a value, and where."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config.complete import has, is_stage_part, node_at
from rerankbench.config.moved import renamed
from rerankbench.config.schema import SECTIONS
from rerankbench.errors import ConfigError, nearest

log = logging.getLogger("rerankbench")

SHORT = ("model", "prompt")
"""`model=…` and `prompt.key=…` are short for the one `model` or `prompt` inside the reranker."""


@dataclass(frozen=True)
class Override:
    """One word. group: the group whose option it chooses, or "". place: the key that it sets, or the group's package.

    text: as Hydra reads it. value: what it sets. deletes: whether it removes the key.
    """

    text: str
    group: str
    place: str
    value: Any = None
    deletes: bool = False

    @property
    def key(self) -> str:
        """What is left of the equals sign."""
        return self.text.partition("=")[0]

    @property
    def short(self) -> bool:
        """Whether it means the one model or prompt inside the reranker."""
        return self.place.partition(".")[0] in SHORT

    def inside(self, other: Override) -> bool:
        """Whether its place is in the other's."""
        return self.place.startswith(f"{other.place}.")


def read(word: str, groups: Mapping[str, Mapping[str, Any]]) -> Override:
    """Read one word. Raises ConfigError for one that Hydra cannot read, or an option that does not exist."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        parsed = OverridesParser.create().parse_override(word)
        value = None if parsed.is_delete() else parsed.value()
    except HydraException as error:
        why = str(error).splitlines()[0]
        raise ConfigError("", f"cannot read the override {word!r} (write key=value): {why}") from error
    key, plain = str(parsed.key_or_group), word.lstrip("+")
    if parsed.is_delete():
        return Override(plain, "", key.replace("/", "."), deletes=True)
    if key not in groups and key not in ("experiment", "size"):
        if "/" in key:
            raise ConfigError(key, f"unknown key; {nearest(key, groups)}")
        return Override(plain, "", key, value)
    if word != plain and parsed.package is None:
        raise ConfigError(key, f"write {plain} (the group is there already; no +)")
    if value is None:
        raise ConfigError(key, f"needs an option; {nearest('', groups.get(key, ()))}")
    for option in value if isinstance(value, list) else [value]:
        folder, _, name = str(option).rpartition("/")  # experiment=small/NAME
        if isinstance(option, str) and option != "null" and name not in groups.get(f"{key}/{folder}".rstrip("/"), ()):
            raise ConfigError(key, f"no option {option!r}; {nearest(name, groups.get(key, ()))}")
    place = parsed.package if parsed.package is not None else key.replace("/", ".")
    return Override(plain, key, place, value)


def expand(overrides: Sequence[Override], config: DictConfig) -> list[Override]:
    """The overrides, a short `model=…` or `prompt.key=…` at the one place inside the reranker that it means.

    Raises ConfigError where there is none, or several.
    """
    return [_expanded(override, config) if override.short else override for override in overrides]


def _expanded(override: Override, config: DictConfig) -> Override:
    short, _, rest = override.place.partition(".")
    places = [f"{place}.{rest}" if rest else place for place in _places_in_reranker(config, short)]
    if not places:
        raise ConfigError(override.place, f"the reranker has no {short} that could be set")
    if len(places) > 1:
        choosing = f"{override.group}@" if override.group else ""
        raise ConfigError(
            override.place, f"there are several; say which: {', '.join(f'{choosing}{p}=…' for p in places)}"
        )
    text = f"{override.group}@{places[0]}={override.text.partition('=')[2]}" if override.group else override.text
    return replace(override, place=places[0], text=text)


def _places_in_reranker(config: DictConfig, name: str) -> list[str]:
    """Where in the reranker a `model` or `prompt` is, however deep it is nested."""

    def walk(node: Any, place: str) -> Iterator[str]:
        for key in map(str, node if isinstance(node, DictConfig) and not node._is_none() else ()):
            if key == name:
                yield f"{place}.{key}"
            else:
                yield from walk(node._get_node(key), f"{place}.{key}")

    return list(walk(config.get("reranker"), "reranker"))


def apply(override: Override, config: DictConfig, valid: Collection[str]) -> None:
    """Set or delete the value in place. Raises ConfigError for a key that the configuration does not have."""
    place = override.place
    if not _settable(config, place):
        place = renamed(place)  # an earlier version's name, where there is the new one
        if place == override.place or not _settable(config, place):
            raise ConfigError(override.place, f"unknown key; {nearest(override.place, valid)}")
        log.warning("%s is the name of an earlier version; taken as %s", override.place, place)
    around, _, name = place.rpartition(".")
    try:
        if override.deletes:
            del node_at(config, around)[name]
        else:
            whole = isinstance(override.value, dict) and (not override.value or "_target_" in override.value)
            OmegaConf.update(config, place, override.value, merge=not whole, force_add=True)
    except (OmegaConfBaseException, KeyError) as error:
        raise ConfigError(override.place, str(error).splitlines()[0]) from error


def _settable(config: DictConfig, place: str) -> bool:
    """Whether there is such a key, or may be: in a mapping inside a target's node, or in a stage's part."""
    return has(config, place) or _free(config, place.rpartition(".")[0]) or is_stage_part(config, place)


def _free(config: DictConfig, place: str) -> bool:
    """Whether keys can be added there: a mapping that is no target's node, such as `model.extra_body`."""
    node = node_at(config, place)
    return isinstance(node, DictConfig) and "_target_" not in node and place not in ("", *SECTIONS)
