"""The top-level keys of the two primary configurations, and what their parts must be to one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from omegaconf import OmegaConf

from rerankbench.config.check import check
from rerankbench.config.options import groups
from rerankbench.config.signature import parameters
from rerankbench.config.targets import name_of, resolve
from rerankbench.errors import ConfigError, nearest


@dataclass(kw_only=True)
class StoreOptions:
    """Where finished work is kept."""

    dir: str


@dataclass(kw_only=True)
class MeasureOptions:
    """Which measures are reported. own: nodes of measures that are not built in, by name."""

    names: Sequence[str]
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class EvalOptions:
    """The top-level keys of `eval`."""

    seed: Annotated[int, Ge(0)]
    name: str | None
    run_dir: str | None
    force: bool
    dry_run: bool
    profile: bool
    keep_answers: bool
    store: StoreOptions
    measures: MeasureOptions


@dataclass(kw_only=True)
class TrainOptions(EvalOptions):
    """The top-level keys of `train`."""

    resume: bool


OPTIONS: Mapping[str, type] = {"eval": EvalOptions, "train": TrainOptions}
SECTIONS: Mapping[str, type] = {"store": StoreOptions, "measures": MeasureOptions}
PARTS: Mapping[str, Sequence[str]] = {
    "eval": ("benchmark", "perturbation", "retriever", "reranker", "analysis", "tracking"),
    "train": ("benchmark", "perturbation", "retriever", "reranker", "analysis", "tracking", "recipe"),
}
"""The top-level keys that are nodes of targets; `perturbation` and `analysis` are mappings of such, perhaps empty."""
_DOES = {"benchmark": "load", "retriever": "retrieve", "tracking": "log", "perturbation": "apply", "analysis": "run"}
"""The method by which a part is known. A reranker is known by its depth, a recipe by its stages."""
_TAKES = {"reranker": "depth", "recipe": "stages"}


def checked_parts(command: str, resolved: Mapping[str, Any], folders: Sequence[Path]) -> dict[str, Any]:
    """The resolved configuration with every value as its target wants it.

    Raises ConfigError where it does not fit the targets' signatures, or its parts one another.
    """
    options, parts = OPTIONS[command], PARTS[command]
    known = {*parameters(options), *parts}
    if unknown := [key for key in resolved if key not in known]:
        inside = f"a part of the scorer: reranker.scorer.{unknown[0]}" if unknown[0] in ("model", "prompt") else ""
        raise ConfigError(unknown[0], f"unknown key; {inside or nearest(unknown[0], known)}")
    if missing := [part for part in parts if not isinstance(resolved.get(part), Mapping)]:
        raise ConfigError(missing[0], f"must be given: {missing[0]}=…")
    for key in ("perturbation", "analysis"):
        _require_nodes(resolved[key], key)
    _require_nodes((resolved.get("measures") or {}).get("own", {}), "measures.own")
    plain = {name: value for name, value in resolved.items() if name not in parts}
    for name, section in SECTIONS.items():
        if isinstance(plain.get(name), Mapping):
            plain[name] = {"_target_": section, **plain[name]}
    checked = check({"_target_": options, **plain}, "", folders)
    for name in SECTIONS:
        del checked[name]["_target_"]
    del checked["_target_"]
    checked.update({part: check(resolved[part], part, folders) for part in parts})
    for part in parts:
        named = part in ("perturbation", "analysis")
        for name, node in checked[part].items() if named else [("", checked[part])]:
            _require_kind(node, part, f"{part}.{name}".rstrip("."))
    require_fitting(checked["reranker"], "reranker", folders)
    return dict(checked)


def _require_kind(node: Mapping[str, Any], part: str, place: str) -> None:
    """Raises ConfigError for a node whose target is another kind of part."""
    target = node.get("_target_")
    fits = target is not None and (
        hasattr(target, _DOES[part]) if part in _DOES else _TAKES[part] in parameters(target)
    )
    if not fits:
        raise ConfigError(place, f"must be a {part}, got {'no node' if target is None else name_of(target)}")


def _require_nodes(named: Any, key: str) -> None:
    """Raises ConfigError unless this is a mapping of names to nodes, as an option file has it that names its node."""
    for name, node in named.items() if isinstance(named, Mapping) else [("", None)]:
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise ConfigError(f"{key}.{name}".rstrip("."), "must be a name with a node: NAME: {_target_: …}")


def require_fitting(node: Any, key: str, folders: Sequence[Path] = ()) -> None:
    """A strategy may only ask what the scorer beside it can answer: `asks` and `answers` of the two must be the same.

    Also of the rerankers inside a reranker. Raises ConfigError.
    """
    if not isinstance(node, Mapping):
        return
    strategy, scorer = node.get("strategy"), node.get("scorer")
    for name, inner in node.items():
        if name not in ("strategy", "scorer"):
            require_fitting(inner, f"{key}.{name}", folders)
    if not isinstance(strategy, Mapping) or "_target_" not in node or "scorer" not in parameters(node["_target_"]):
        return
    asks = getattr(strategy["_target_"], "asks", None)
    if asks is None:
        if isinstance(scorer, Mapping):
            raise ConfigError(f"{key}.scorer", "takes no scorer: the strategy asks nothing")
        return
    wanted = _question(asks)
    if not isinstance(scorer, Mapping):
        raise ConfigError(f"{key}.scorer", f"must be given: the strategy asks {wanted} requests")
    if isinstance(node.get("passages"), Mapping) and wanted != "Pointwise":
        raise ConfigError(f"{key}.passages", f"are scored one by one, but the strategy asks {wanted} requests")
    answers = _question(getattr(scorer["_target_"], "answers", None))
    if answers not in (wanted, ANY):
        fitting = ", ".join(_scorers_answering({wanted, ANY}, folders))
        problem = f"answers {answers} requests, but the strategy asks {wanted} requests; scorers that do: {fitting}"
        raise ConfigError(f"{key}.scorer", problem)


ANY = "any"
"""What a scorer answers that answers every kind of request."""


def _question(asked: Any) -> str:
    """The name of a kind of request; ANY for all of them together."""
    return getattr(asked, "__name__", None) or (ANY if not isinstance(asked, str) else asked)


def _scorers_answering(questions: set[str], folders: Sequence[Path]) -> list[str]:
    """The scorer options whose target answers one of these."""
    fitting = []
    for name, file in sorted(groups(folders).get("reranker/scorer", {}).items()):
        target = OmegaConf.select(OmegaConf.load(file), "_target_")
        if target and _question(getattr(resolve(str(target), str(file), folders), "answers", None)) in questions:
            fitting.append(name)
    return fitting


def dotted(node: Any, prefix: str = "") -> list[str]:
    """Every key of a nested mapping with its place."""
    if not isinstance(node, Mapping):
        return [prefix]
    inner = [key for k, v in node.items() for key in dotted(v, f"{prefix}.{k}" if prefix else str(k))]
    return [prefix, *inner] if prefix else inner
