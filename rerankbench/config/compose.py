"""From the command line to one checked configuration; every mistake becomes one line that names the key.

Hydra chooses the files. The rest happens here, once, before anything loads: what the targets' signatures add, the
values of the command line, and the check.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config.build import build
from rerankbench.config.complete import complete, drop_unused, has, share_stage_parts
from rerankbench.config.options import conf_folder, groups, use_folders
from rerankbench.config.overrides import SHORT, Override, apply, expand, read
from rerankbench.config.schema import PARTS, SECTIONS, checked_parts, dotted
from rerankbench.config.signature import as_node, parameters
from rerankbench.errors import ConfigError

_UNUSED = re.compile(r"(?P<file>In '[^']+': )?Could not override '(?P<key>[^']+)'")


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

    Raises ConfigError for every mistake: unknown group, option or key, wrong type, value out of bounds, parts that do
    not fit.
    """
    use_folders(folders)
    known = groups(folders)
    overrides = [read(word, known) for word in sized(words, folders)]
    config, choices = option_files(command, [o for o in overrides if o.group and not o.short], folders)
    if any(override.short for override in overrides):  # what they mean is known once the reranker is
        chosen = any(override.short and override.group for override in overrides)
        overrides = expand(overrides, config)
        if chosen:
            config, choices = option_files(command, [o for o in overrides if o.group], folders)
    valid = {*dotted(OmegaConf.to_container(config, resolve=False)), *known, *SHORT}
    for override in overrides:
        if not override.group:
            apply(override, config, valid)
    share_stage_parts(config, folders)
    complete(config, "", folders)
    parts = checked_parts(command, _resolved(config), tuple(folders))
    for name in PARTS[command]:  # constructors check relations between fields; they load nothing
        build(parts[name], name, benchmark=None, folders=tuple(folders))
    return Composed(config, choices, parts, tuple(folders))


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


def option_files(
    primary: str | None, chosen: Sequence[Override], folders: Sequence[Path]
) -> tuple[DictConfig, dict[str, str]]:
    """The configuration of the files that these overrides choose, completed, and the option of each group.

    primary: the file at the top, if any.
    """
    config, choices = _hydra(primary, chosen, [], folders)
    for name, section in SECTIONS.items():
        for key, parameter in parameters(section).items():
            if isinstance(config.get(name), DictConfig) and not parameter.required:
                config[name].setdefault(key, as_node(parameter.default))
    drop_unused(config, folders, keep={override.place for override in chosen})
    choices = {key: name for key, name in choices.items() if "@" not in key or has(config, key.partition("@")[2])}
    complete(config, "", folders, stage_parts=False)
    return config, choices


def _hydra(
    primary: str | None, chosen: Sequence[Override], added: Sequence[Override], folders: Sequence[Path]
) -> tuple[DictConfig, dict[str, str]]:
    """What Hydra makes of the files. added: choices for places at which no file chooses anything."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    words = [f"hydra.searchpath=[{','.join(f'file://{folder.resolve()}' for folder in folders)}]"] if folders else []
    words += [f"+{override.text}" for override in added]
    used, unused = list(chosen), list[Override]()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        while True:
            try:
                config = hydra_compose(primary, [*words, *(o.text for o in used)], return_hydra_config=True)
                break
            except (HydraException, OmegaConfBaseException) as error:
                found = _UNUSED.search(str(error))
                key = found["key"] if found else ""
                if mine := [override for override in used if found and override.key == key]:
                    used.remove(mine[0])
                    unused.append(mine[0])
                elif found and found["file"]:  # a recipe's model, say, for a reranker that has none: chooses nothing
                    words += [f"{key}=[]", f"+{key}=[]"]
                else:
                    problem = " ".join(line.strip() for line in str(error).splitlines()[:2])
                    raise ConfigError(key, problem) from error
    choices = {str(k): str(v) for k, v in config.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
    plain = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    OmegaConf.set_struct(plain, False)
    # A choice for a place at which no file chooses replaces what is there; it and what is inside it stand alone.
    outer = [one for one in unused if not any(one.inside(other) for other in unused)]
    if outer:
        inner = [one for one in chosen if any(one.inside(other) for other in outer)]
        alone, more = _hydra(None, inner, outer, folders)
        choices.update(more)
        for override in outer:
            OmegaConf.update(plain, override.place, OmegaConf.select(alone, override.place), merge=False)
    return plain, choices


def _resolved(config: DictConfig) -> dict[str, Any]:
    """The plain, resolved configuration; ConfigError for a value that cannot be resolved."""
    try:
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error.full_key or ""), str(error).splitlines()[0]) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}
