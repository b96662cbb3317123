"""From the command line to one checked configuration; every mistake becomes one line that names the key.

Hydra chooses the files. The rest happens here, once, before anything loads: what the targets' signatures add, the
values of the command line, and the check.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config.build import build
from rerankbench.config.complete import complete, share_stage_parts
from rerankbench.config.options import conf_folder, groups
from rerankbench.config.overrides import apply, read, reranker_parts
from rerankbench.config.schema import PARTS, checked_parts, dotted
from rerankbench.errors import ConfigError

_UNUSED = re.compile(r"(?:In '(?P<file>[^']+)': )?Could not override '(?P<key>[^']+)'")


@dataclass(frozen=True)
class Composed:
    """A checked configuration. config: with every key, unresolved. choices: the option of each group.

    parts: the resolved configuration as `build` takes it. folders: those of `--config-dir`.
    """

    config: DictConfig
    choices: Mapping[str, str]
    parts: Mapping[str, Any]
    folders: tuple[Path, ...] = ()


def compose(command: str, words: Sequence[str], folders: Sequence[Path] = ()) -> Composed:
    """The configuration of `command` (`eval` or `train`) with these overrides, checked.

    Raises ConfigError for every mistake: unknown group, option or key, wrong type, parts that do not fit.
    """
    use_folders(folders)
    known = groups(folders)
    overrides = [read(word, known) for word in sized(words, folders)]
    chosen = [override for override in overrides if override.group]
    config, choices = _files(command, [o.text for o in chosen if o.place not in _SHORT], folders)
    short = [override for override in overrides if override.place.split(".")[0] in _SHORT]
    if short:  # where the one scorer's model and prompt are, is known when the reranker is
        placed = {id(o): o.at(reranker_parts(config, o.place.split(".")[0])) for o in short}
        overrides = [placed.get(id(override), override) for override in overrides]
        config, choices = _files(command, [override.text for override in overrides if override.group], folders)
    valid = {*dotted(OmegaConf.to_container(config, resolve=False)), *known, *_SHORT}
    for override in overrides:
        if not override.group:
            apply(override, config, valid)
    share_stage_parts(config, folders)
    complete(config, "", folders)
    parts = checked_parts(command, resolve_all(config), tuple(folders))
    for name in PARTS[command]:  # constructors check what lies between two fields; they load nothing
        build(parts[name], name, benchmark=None, folders=tuple(folders))
    return Composed(config, choices, parts, tuple(folders))


_SHORT = ("model", "prompt")
"""Short for the one `model` and `prompt` inside the reranker."""


def use_folders(folders: Sequence[Path]) -> None:
    """Let Python files of these folders be imported. Raises ConfigError for one that does not exist."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError("--config-dir", f"no such folder: {folder}")
        if str(folder.resolve()) not in sys.path:
            sys.path.insert(0, str(folder.resolve()))


def sized(words: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """The overrides, an experiment that has a file of its own at the wanted size replaced by that.

    `experiment=curriculum size=small` becomes `experiment=small/curriculum`: another benchmark and another model are
    groups to choose, which no values of a size could do.
    """
    size = next((word.partition("=")[2] for word in words if word.startswith("size=")), "")
    own = groups(folders).get(f"experiment/{size}", {})
    changed = []
    for word in words:
        names = word.removeprefix("experiment=").split(",") if word.startswith("experiment=") else []
        changed.append(f"experiment={','.join(f'{size}/{n}' for n in names)}" if {*names} & {*own} else word)
    return changed if changed == list(words) else [word for word in changed if not word.startswith("size=")]


def resolve_all(config: DictConfig) -> dict[str, Any]:
    """The plain, fully resolved configuration; ConfigError for a value that is missing or cannot be resolved."""
    try:
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise ConfigError(missing[0], f"must be given: {missing[0]}=…")
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error.full_key or ""), str(error).splitlines()[0]) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _files(command: str, choosing: Sequence[str], folders: Sequence[Path]) -> tuple[DictConfig, dict[str, str]]:
    """What Hydra makes of the files that these overrides choose, made whole, and the option of each group."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    search = ",".join(f"file://{folder.resolve()}" for folder in folders)
    words = [*([f"hydra.searchpath=[{search}]"] if folders else []), *choosing]
    dropped: list[str] = []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        for _ in range(len(words) + 8):
            try:
                config = hydra_compose(command, words, return_hydra_config=True)
                break
            except (HydraException, OmegaConfBaseException) as error:
                words, dropped = _mended(words, dropped, error, folders)
    choices = {str(k): str(v) for k, v in config.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    del container["hydra"]
    plain = OmegaConf.create(container)
    for key in dropped:
        choices.pop(key, None)
        _remove(plain, key.partition("@")[2])
    complete(plain, "", folders, stage_parts=False)
    return plain, choices


def _mended(
    words: Sequence[str], dropped: Sequence[str], error: Exception, folders: Sequence[Path]
) -> tuple[list[str], list[str]]:
    """The words with which Hydra goes on after it found nothing to override; else the ConfigError that explains it.

    What the command line chooses is added where no file has it. What a recipe would choose for another reranker than
    the one at hand (its model) is left out.
    """
    found = _UNUSED.search(str(error))
    key = found["key"] if found else ""
    place = next((i for i, word in enumerate(words) if key and word.partition("=")[0] == key), None)
    if place is not None:
        return [f"+{word}" if i == place else word for i, word in enumerate(words)], list(dropped)
    if found and found["file"] and "@" in key and key not in dropped:
        option = next(iter(groups(folders)[key.partition("@")[0]]))
        return [*words, f"+{key}={option}"], [*dropped, key]
    raise ConfigError(key, " ".join(line.strip() for line in str(error).splitlines()[:2])) from error


def _remove(config: DictConfig, place: str) -> None:
    """Take a node out, and those around it that are empty then."""
    around, _, name = place.rpartition(".")
    parent = OmegaConf.select(config, around) if around else config
    del parent[name]
    if around and not parent:
        _remove(config, around)
