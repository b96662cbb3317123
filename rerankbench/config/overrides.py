"""The words of the command line: which choose an option of a group, which set a value, and where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config.complete import is_stage_part
from rerankbench.errors import ConfigError, nearest


@dataclass(frozen=True)
class Override:
    """One word. group: the group whose option it chooses, or "". place: the key that it sets, or the group's package.

    text: as Hydra reads it. value: what it sets. deletes: whether it takes the key away.
    """

    text: str
    group: str
    place: str
    value: Any = None
    deletes: bool = False

    def at(self, places: Sequence[str]) -> Override:
        """The short `model=…` or `prompt.key=…`, at the one place inside the reranker that it means.

        Raises ConfigError where there is none, or several.
        """
        short, _, rest = self.place.partition(".")
        if not places:
            raise ConfigError(short, f"the reranker has no {short} that could be set")
        if len(places) > 1:
            shown = ", ".join(f"{place}{f'.{rest}' if rest else ''}=…" for place in places)
            raise ConfigError(short, f"there are several; say which: {shown}")
        place = f"{places[0]}.{rest}" if rest else places[0]
        text = f"{self.group}@{place}={self.text.partition('=')[2]}" if self.group else self.text
        return replace(self, place=place, text=text)


def read(word: str, groups: Mapping[str, Any]) -> Override:
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
    if key not in groups and key not in ("experiment", "size"):
        return Override(plain, "", key, value, parsed.is_delete())
    if word != plain and parsed.package is None:
        raise ConfigError(key, f"write {plain} (the group is there already; no +)")
    options = groups.get(key, {})
    for option in value if isinstance(value, list) else [value]:
        if isinstance(option, str) and option not in options and option != "null":
            raise ConfigError(key, f"no option {option!r}; {nearest(option, options)}")
    if parsed.is_delete():
        return Override(plain, "", key.replace("/", "."), None, True)
    place = parsed.package if parsed.package is not None else key.replace("/", ".")
    return Override(plain, key, place, value)


def apply(override: Override, config: DictConfig, valid: set[str]) -> None:
    """Set or delete the value in place. Raises ConfigError for a key that the configuration does not have."""
    place = override.place
    around, _, name = place.rpartition(".")
    try:
        parent = OmegaConf.select(config, around, throw_on_missing=False) if around else config
        known = isinstance(parent, DictConfig) and (name in list(parent) or _free(config, around))
        if not known and not is_stage_part(place):
            raise ConfigError(place, f"unknown key; {nearest(place, valid)}")
        if override.deletes:
            if parent is None or name not in parent:
                raise ConfigError(place, f"unknown key; {nearest(place, valid)}")
            del parent[name]
            return
        with open_dict(config):
            OmegaConf.update(config, place, override.value, merge=True, force_add=True)
    except OmegaConfBaseException as error:
        raise ConfigError(place, str(error).splitlines()[0]) from error


def reranker_parts(config: DictConfig, name: str) -> list[str]:
    """Where in the reranker a `model` or `prompt` is, however deep it is nested."""

    def walk(node: Any, place: str) -> Iterator[str]:
        if not isinstance(node, DictConfig) or node._is_none() or node._is_missing() or node._is_interpolation():
            return
        for key in map(str, node):
            if key == name:
                yield f"{place}.{key}"
            else:
                yield from walk(node._get_node(key), f"{place}.{key}")

    return list(walk(config.get("reranker"), "reranker"))


def _free(config: DictConfig, place: str) -> bool:
    """Whether keys can be added there: a mapping inside a target's node, such as `model.extra_body`."""
    node = OmegaConf.select(config, place) if place else None
    parts = place.split(".")
    around = [OmegaConf.select(config, ".".join(parts[:n])) for n in range(1, len(parts))]
    return (
        isinstance(node, DictConfig)
        and "_target_" not in node
        and any(isinstance(one, DictConfig) and "_target_" in one for one in around)
    )
