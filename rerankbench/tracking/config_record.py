"""The configuration as it is written down: resolved, without secrets, and as a hash that says "same experiment"."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.store import content_hash

UNHASHED = frozenset({"run_dir", "name", "force", "resume", "profile", "keep_answers", "dry_run", "tracking", "store",
                       "schema"})  # fmt: skip
"""Top-level keys that cannot change a result: where it goes, what it is called, how the program behaves meanwhile."""

_ENVIRONMENT = "${oc.env:"
_HELD = "\ue000{"
"""Stands for `${` in texts that must stay unresolved (a private-use character, which no configuration contains)."""

_SECRET = re.compile(
    r"(^|_)(api_?keys?|access_key|private_key|secrets?|passwords?|passwd|authorization|credentials?)(_|$)"
)
_TOKEN = re.compile(r"(^|_)token$")
_VOCABULARY = re.compile(
    r"(^|_)(yes|no|true|false|label|pad|eos|bos|mask|sep|cls|unk|stop|start|end|first|last|query|doc|document"
    r"|relevant|irrelevant|special|image)_token$"
)
"""`yes_token` and its like are words of a language model; any other `…_token` is taken for a secret."""

_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")
"""Under a key `…_env` such a text is the name of an environment variable, which is no secret."""

_USER_INFO = re.compile(r"(://)[^/\s?#]*@")
_QUERY_SECRET = re.compile(r"([?&](?:api_?key|token|access_token|secret|password|signature)=)[^&\s]+", re.IGNORECASE)


def resolved(config: DictConfig) -> dict[str, Any]:
    """The configuration as a plain container with every interpolation resolved, secrets excepted.

    A text that reads an environment variable stays as written, also where another key points to it; a value under a
    key that names a secret becomes `***`; user names and passwords inside URIs are left out. The result composes to
    the same configuration again, so far as no secret was given literally.
    """
    held = OmegaConf.create(_hold(OmegaConf.to_container(config, resolve=False)))
    return {str(key): _without_secrets(value, str(key)) for key, value in _resolve(held).items()}


def config_hash(config: Mapping[str, Any]) -> str:
    """The hash of a resolved configuration without the keys that cannot change a result."""
    return content_hash("config", {key: value for key, value in config.items() if key not in UNHASHED})


def differing_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The dotted keys in which two resolved configurations ask for different experiments, sorted.

    A key that is null or empty is as good as none: the folders of earlier versions lack some.
    """
    one, other = ({k: v for k, v in flat(c).items() if k.split(".")[0] not in UNHASHED and v not in ({}, [], None)}
                  for c in (first, second))  # fmt: skip
    absent = object()
    return sorted(key for key in one.keys() | other.keys() if one.get(key, absent) != other.get(key, absent))


def flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted key → leaf; a list is one leaf."""
    leaves: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            leaves.update(flat(value, f"{prefix}{key}."))
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def without_user_info(text: str) -> str:
    """The text with user names, passwords and keys cut out of the URIs in it."""
    return _QUERY_SECRET.sub(r"\1***", _USER_INFO.sub(r"\1", text))


def _hold(node: Any, always: bool = False) -> Any:
    if isinstance(node, dict):
        return {key: _hold(value, always) for key, value in node.items()}
    if isinstance(node, list):
        return [_hold(value, always) for value in node]
    return node.replace("${", _HELD) if isinstance(node, str) and (always or _ENVIRONMENT in node) else node


def _resolve(node: Any) -> Any:
    if not isinstance(node, DictConfig | ListConfig):
        return node
    keys = list(node) if isinstance(node, DictConfig) else list(range(len(node)))
    values = []
    for key in keys:
        try:
            values.append(_resolve(node[key]))
        except OmegaConfBaseException:  # a resolver was applied to an environment variable: keep it as written
            values.append(_hold(OmegaConf.to_container(node, resolve=False)[key], always=True))  # type: ignore[index]
    return dict(zip(keys, values, strict=True)) if isinstance(node, DictConfig) else values


def _without_secrets(value: Any, key: str, secret: bool = False) -> Any:
    secret = secret or _names_secret(key)
    if key.endswith("_env") and isinstance(value, str) and _VARIABLE.fullmatch(value):
        return value
    if isinstance(value, dict):
        return {inner: _without_secrets(v, str(inner), secret) for inner, v in value.items()}
    if isinstance(value, list):
        return [_without_secrets(v, "", secret) for v in value]
    if isinstance(value, str):
        if _HELD in value:
            return without_user_info(value.replace(_HELD, "${"))
        # Whatever still reads `${` was written `\${`, and has to be again, or reading it back would resolve it.
        return "***" if secret and value else without_user_info(value.replace("${", "\\${"))
    return "***" if secret and isinstance(value, int | float) and not isinstance(value, bool) else value


def _names_secret(key: str) -> bool:
    words = re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower())
    return bool(_SECRET.search(words) or (_TOKEN.search(words) and not _VOCABULARY.search(words)))


def as_text(value: Any) -> str:
    """A leaf as one line of text: a plain string as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
