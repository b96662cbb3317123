"""From the command line to one checked configuration; every mistake becomes one line that names the key."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config import build
from rerankbench.config.check import class_attribute, find, parameters
from rerankbench.config.options import conf_folder, groups
from rerankbench.errors import ConfigError, nearest

_NO_PLUS = "the group is there already; no +"


DEFAULTS = {"model": "minilm", "prompt": "null"}
"""What `eval` chooses where a reranker brings nothing of its own."""


@dataclass
class StoreOptions:
    """Where finished work is kept."""

    dir: str


@dataclass
class MeasureOptions:
    """Which measures are reported."""

    names: Sequence[str]


@dataclass
class EvalOptions:
    """The top-level keys of `eval`."""

    seed: int
    name: str | None
    run_dir: str | None
    force: bool
    dry_run: bool
    profile: bool
    keep_answers: bool
    store: StoreOptions
    measures: MeasureOptions
    benchmark: Mapping[str, Any]
    retriever: Mapping[str, Any]
    model: Mapping[str, Any]
    reranker: Mapping[str, Any]
    tracking: Mapping[str, Any]
    prompt: Mapping[str, Any] | None = None


@dataclass
class TrainOptions(EvalOptions):
    """The top-level keys of `train`."""

    recipe: Mapping[str, Any] = field(default_factory=dict)
    resume: bool = True


@dataclass(frozen=True)
class Composed:
    """A checked configuration, and the chosen option of each group."""

    config: DictConfig
    choices: dict[str, str] = field(default_factory=dict)


def add_user_folders(folders: Sequence[Path]) -> None:
    """Let options and Python files of these folders be used: trusted, importable."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError("--config-dir", f"no such folder: {folder}")
        build.trust(folder)
        if str(folder.resolve()) not in sys.path:
            sys.path.insert(0, str(folder.resolve()))


def compose(command: str, overrides: Sequence[str], folders: Sequence[Path] = ()) -> Composed:
    """The configuration of `command` (`eval` or `train`) with these overrides, checked.

    Raises ConfigError for every mistake: unknown group, option or key, wrong type, parts that do not fit.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    for text in overrides:
        if text.lstrip("+") != text and text.lstrip("+").partition("=")[0] in ("experiment", "size"):
            raise ConfigError(text.lstrip("+").partition("=")[0], f"write {text.lstrip('+')} ({_NO_PLUS})")
    overrides = sized(overrides, folders)
    add_user_folders(folders)
    search = [f"file://{folder.resolve()}" for folder in folders]
    extra = [f"hydra.searchpath=[{','.join(search)}]"] if search else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        try:
            config = hydra_compose(command, [*extra, *overrides], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise _explain(command, overrides, extra, folders, error) from error
        choices = {str(k): str(v) for k, v in config.hydra.runtime.choices.items() if not str(k).startswith("hydra/")}
    with_hydra = OmegaConf.to_container(config, resolve=False)
    assert isinstance(with_hydra, dict)
    with_hydra.pop("hydra")
    plain = OmegaConf.create(with_hydra)
    checked_config(command, plain)
    _check_shared(plain, choices, overrides, folders)
    return Composed(plain, choices)


def sized(overrides: Sequence[str], folders: Sequence[Path] = ()) -> list[str]:
    """The overrides, an experiment that has a file of its own at the wanted size replaced by that.

    `experiment=curriculum size=small` becomes `experiment=small/curriculum`: another benchmark and another model are
    groups to choose, which no values of a size could do.
    """
    size = next((word.partition("=")[2] for word in overrides if word.startswith("size=")), "")
    own = groups(folders).get(f"experiment/{size}", {})
    changed = []
    for word in overrides:
        names = word.removeprefix("experiment=").split(",") if word.startswith("experiment=") else []
        changed.append(f"experiment={','.join(f'{size}/{n}' for n in names)}" if {*names} & {*own} else word)
    return changed if changed == list(overrides) else [word for word in changed if not word.startswith("size=")]


def checked_config(command: str, config: DictConfig) -> dict[str, Any]:
    """The resolved configuration with every value as its target wants it.

    Raises ConfigError where it does not fit the targets' signatures or its parts one another.
    """
    resolved = resolve(config)
    options = "TrainOptions" if command == "train" else "EvalOptions"
    schema = {"_target_": f"rerankbench.config.compose.{options}", **resolved}
    for name, inner in (("store", "StoreOptions"), ("measures", "MeasureOptions")):
        if isinstance(schema.get(name), Mapping):
            schema[name] = {"_target_": f"rerankbench.config.compose.{inner}", **schema[name]}
    if unknown := [key for key in resolved if key not in parameters(find(schema["_target_"], ""))]:
        raise ConfigError(unknown[0], f"unknown key; {nearest(unknown[0], {*_dotted(resolved, '')} - {*unknown})}")
    plain: dict[str, Any] = build.check(schema, "")
    _check_paradigm(plain["reranker"], "reranker")
    del plain["_target_"], plain["store"]["_target_"], plain["measures"]["_target_"]
    return plain


def resolve(config: DictConfig) -> dict[str, Any]:
    """The plain, fully resolved configuration; ConfigError for a value that is missing or cannot be resolved."""
    try:
        if missing := sorted(OmegaConf.missing_keys(config)):
            raise ConfigError(missing[0], f"must be given: {missing[0]}=…")
        container = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error.full_key or ""), str(error).splitlines()[0]) from error
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _check_paradigm(node: Any, key: str) -> None:
    """A strategy may only ask what the scorer beside it can answer: `asks` and `answers` of the two must be the same.

    Also of the rerankers inside a reranker.
    """
    if not isinstance(node, Mapping):
        return
    strategy, scorer = node.get("strategy"), node.get("scorer")
    for name, inner in node.items():
        if name not in ("strategy", "scorer"):
            _check_paradigm(inner, f"{key}.{name}")
    if not isinstance(strategy, Mapping) or ("scorer" not in node and "depth" not in node):
        return
    asks = _question(strategy, f"{key}.strategy", "asks")
    if asks in (None, "None"):
        if isinstance(scorer, Mapping):
            raise ConfigError(f"{key}.scorer", "takes no scorer: the strategy asks nothing")
        return
    if not isinstance(scorer, Mapping):
        raise ConfigError(f"{key}.scorer", f"must be given: the strategy asks {asks} requests")
    if isinstance(node.get("passages"), Mapping) and asks != "Pointwise":
        raise ConfigError(f"{key}.passages", f"are scored one by one, but the strategy asks {asks} requests")
    answers = _question(scorer, f"{key}.scorer", "answers")
    if answers not in (asks, "Request"):
        fitting = ", ".join(_options_with("reranker/scorer", "answers", {asks or "", "Request"}))
        raise ConfigError(
            f"{key}.scorer",
            f"answers {answers} requests, but the strategy asks {asks} requests; scorers that do: {fitting}",
        )


def _question(node: Mapping[str, Any], key: str, attribute: str) -> str | None:
    """The name of the question that a part asks or answers, however its module imports it."""
    found = class_attribute(find(str(node["_target_"]), key), attribute)
    return found and found.rpartition(".")[2]


def _check_shared(
    config: DictConfig, choices: Mapping[str, str], overrides: Sequence[str], folders: Sequence[Path]
) -> None:
    """The rerankers inside a reranker share the top-level `model` and `prompt`, so they must not bring different ones.

    Not where the command line chooses one for all, or gives one of them its own.
    """
    options = groups(folders)["reranker"]
    for group in ("model", "prompt"):
        if any(word.startswith(f"{group}=") for word in overrides):
            continue
        brought: dict[str, str] = {}
        for choice, option in sorted(choices.items()):
            place = choice.partition("@")[2]
            node = OmegaConf.select(config, f"{place}.scorer") if choice.startswith("reranker@") else None
            written: Any = OmegaConf.to_container(node) if isinstance(node, DictConfig) else {}
            if written.get(group) != f"${{{group}}}":
                continue
            found = re.search(rf"override /{group}@_global_\.{group}: (\w+)", options[option].read_text("utf-8"))
            brought[place] = found[1] if found else DEFAULTS[group]
        if len(set(brought.values())) > 1:
            shown = ", ".join(f"{place} wants {name}" for place, name in brought.items())
            place, name = next(iter(brought.items()))
            way = f"give one its own (+{group}@{place}.scorer.{group}={name}), or set {group}= for all"
            raise ConfigError("reranker", f"the rerankers inside share one {group}, but {shown}; {way}")


def _options_with(group: str, attribute: str, values: set[str]) -> list[str]:
    """The options of a group whose target class has one of these values as an attribute."""
    fitting = []
    for file in sorted((conf_folder() / group).glob("*.yaml")):
        target = OmegaConf.select(OmegaConf.load(file), "_target_")
        if target and class_attribute(find(str(target), group), attribute) in values:
            fitting.append(file.stem)
    return fitting


def _explain(
    command: str, overrides: Sequence[str], extra: Sequence[str], folders: Sequence[Path], error: Exception
) -> ConfigError:
    """The override at fault and the nearest valid name, in one line."""
    from hydra import compose as hydra_compose
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    known = {"experiment": {}, "size": {}, **groups(folders)}  # these two may have no options yet
    parser = OverridesParser.create()
    choosing: list[str] = []
    setting: list[tuple[str, str]] = []  # the key and the override that sets it
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as parse_error:
            why = str(parse_error).splitlines()[0]
            return ConfigError("", f"cannot read the override {text!r} (write key=value): {why}")
        key = str(override.key_or_group)
        if key not in known:
            setting.append((key, text))
            continue
        option = override.value()
        if text.startswith("+") and override.package is None:
            return ConfigError(key, f"write {text.lstrip('+')} ({_NO_PLUS})")
        if isinstance(option, str) and option not in known[key] and option != "null":
            return ConfigError(key, f"no option {option!r}; {nearest(option, known[key])}")
        choosing.append(text)
    try:
        base = hydra_compose(command, [*extra, *choosing])
    except (HydraException, OmegaConfBaseException) as group_error:
        return ConfigError("", _first_line(group_error))
    keys = set(_dotted(OmegaConf.to_container(base, resolve=False), ""))
    for key, text in setting:
        if key.split("@")[0].lstrip("+~") not in keys and not text.startswith("+"):
            return ConfigError(key, f"unknown key; {nearest(key, keys | known.keys())}")
    return ConfigError("", _first_line(error))


def _dotted(node: Any, prefix: str) -> list[str]:
    if not isinstance(node, Mapping):
        return [prefix]
    inner = [key for k, v in node.items() for key in _dotted(v, f"{prefix}.{k}" if prefix else str(k))]
    return [prefix, *inner] if prefix else inner


def _first_line(error: Exception) -> str:
    return " ".join(line.strip() for line in str(error).splitlines()[:2])
