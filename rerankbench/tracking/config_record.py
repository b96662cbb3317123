"""The configuration as it is recorded: fully resolved, secrets excepted, with a hash that says when two are equal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from rerankbench.store import content_hash

_SECRET = re.compile(r"(^|_)(api_?key|key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^/@\s]+@")

UNHASHED = ("run_dir", "force", "resume", "profile", "dry_run", "tracking", "store")
"""Where and how a run is kept, not what it is: these may differ between two commands for the same run."""


def resolved(config: DictConfig) -> dict[str, Any]:
    """Every value resolved, but what comes from the environment stays `${oc.env:NAME}`, also when reached indirectly.

    Literal values of keys that name secrets become `***`, and user names and passwords leave URIs.
    """
    raw = OmegaConf.to_container(config, resolve=False)
    copy = OmegaConf.create(_map(raw, lambda _, text: text.replace("${oc.env:", r"\${oc.env:")))
    found = _map(OmegaConf.to_container(copy, resolve=True), _conceal)
    assert isinstance(found, dict)
    return found


def config_hash(record: Mapping[str, Any]) -> str:
    """Equal exactly when two recorded configurations describe the same run."""
    return content_hash({key: value for key, value in record.items() if key not in UNHASHED})


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """Dotted key -> leaf; lists are leaves."""
    if not isinstance(node, Mapping):
        return {prefix: node}
    found: dict[str, Any] = {}
    for key, value in node.items():
        found.update(flat(value, f"{prefix}.{key}" if prefix else str(key)))
    return found


def _conceal(key: str, text: str) -> str:
    if _SECRET.search(key) and "${oc.env:" not in text:
        return "***"
    return _USER_INFO.sub("***@", text)


def _map(node: Any, change: Any, key: str = "") -> Any:
    """The node with every text leaf changed by `change(key, text)`."""
    if isinstance(node, dict):
        return {k: _map(v, change, str(k)) for k, v in node.items()}
    if isinstance(node, list):
        return [_map(item, change, key) for item in node]
    return change(key, node) if isinstance(node, str) else node
