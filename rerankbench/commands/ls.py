"""`rerankbench ls`: the groups and their options, and what an option sets: keys, types, ranges, defaults."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rerankbench.config.options import description, groups, use_folders
from rerankbench.errors import ConfigError, nearest


def main(words: Sequence[str], folders: Sequence[Path]) -> None:
    """Print all groups, one, or what an option of a group sets."""
    group, _, option = words[0].partition("=") if words else ("", "", "")
    print(option_listing(group, option, folders) if option else listing(group or None, folders))


def listing(chosen: str | None, folders: Sequence[Path] = ()) -> str:
    """The options of a group and of the groups inside it, or of all groups, as text."""
    use_folders(folders)
    known = groups(folders)
    wanted = [g for g in sorted(known) if chosen is None or g == chosen or g.startswith(f"{chosen}/")]
    if not wanted:
        raise ConfigError("", f"no group {chosen!r}; {nearest(chosen or '', known)}")
    blocks = []
    for group in wanted:
        options = known[group]
        width = max(map(len, options))
        blocks.append("\n".join([f"{group}=", *(f"  {n:<{width}}  {description(f)}" for n, f in options.items())]))
    return "\n\n".join(blocks)


def option_listing(group: str, option: str, folders: Sequence[Path] = ()) -> str:
    """The keys of an option as it composes, each with its value, type, range, default and meaning.

    Of one that sets keys elsewhere, such as an experiment, the file.
    """
    from omegaconf import OmegaConf

    from rerankbench.config.complete import node_at
    from rerankbench.config.compose import option_files
    from rerankbench.config.overrides import read

    use_folders(folders)
    known = groups(folders)
    if group not in known:
        raise ConfigError("", f"no group {group!r}; {nearest(group, known)}")
    override = read(f"{group}={option}", known)
    parent, _, name = option.rpartition("/")
    file = known[f"{group}/{parent}".rstrip("/")][name]
    text = file.read_text(encoding="utf-8")
    if text.startswith("# @package _global_"):
        return text.rstrip()
    config, _ = option_files(None, [override], folders)
    node = OmegaConf.to_container(node_at(config, override.place), resolve=False)
    rows = list(_rows(override.place.rpartition(".")[2], node, folders))
    width = min(max(len(left) for left, _ in rows), 40)
    lines = [f"# {group}={option}: {description(file)}"]
    for left, right in rows:
        first, *more = textwrap.wrap(right, 118 - width) or [""]
        if len(left) > width:
            lines.append(left)
            left = ""
        lines.append(f"{left:<{width}}  # {first}" if first else left)
        lines += [f"{'':<{width}}  # {line}" for line in more]
    return "\n".join(lines)


def _rows(
    key: str, value: Any, folders: Sequence[Path], meaning: str = "", indent: str = ""
) -> Iterator[tuple[str, str]]:
    """A key with its value, and what is to be known about it; then those inside, indented."""
    from rerankbench.config.check import describe
    from rerankbench.config.signature import Parameter, as_node, parameters
    from rerankbench.config.targets import resolve

    if not isinstance(value, Mapping) or not value:
        yield f"{indent}{key}: {_shown(value)}", meaning
        return
    known, documented = dict[str, Parameter](), ""
    if "_target_" in value:
        target = resolve(str(value["_target_"]), key, folders)
        known, doc = parameters(target, key), inspect.getdoc(target) or ""
        documented = " ".join(doc.split())
        meaning = " ".join(filter(None, [f"{target.__name__}: {doc.partition(chr(10))[0]}", meaning]))
    yield f"{indent}{key}:", meaning
    meanings = _meanings(documented, list(known))
    for name, inner in value.items():
        if name == "_target_":
            continue
        about = ""
        if parameter := known.get(name):
            default = (
                "must be given"
                if parameter.required or inner == "???"
                else f"default {_shown(as_node(parameter.default))}"
            )
            wanted = "" if parameter.annotation in (None, Any) else describe(parameter.annotation)
            about = "; ".join(filter(None, [wanted, default, meanings.get(name, "")]))
        yield from _rows(str(name), inner, folders, about, f"{indent}  ")


def _meanings(documented: str, names: Sequence[str]) -> dict[str, str]:
    """What a docstring says of each parameter: `depth: how many. first, second: the parts.`"""
    one = "|".join(map(re.escape, names)) or "(?!)"
    _, *rest = re.split(rf"(?:(?<=[.;] )|^)((?:{one})(?:(?:,| and) (?:{one}))*): ", documented.partition(" Raises ")[0])
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return {name: text.strip().rstrip(".") for keys, text in pairs for name in re.split(r",? and |, ", keys)}


def _shown(value: Any) -> str:
    """A value as YAML on one line, cut where it is long."""
    import yaml

    if isinstance(value, Mapping) and "_target_" in value:
        return str(value["_target_"]).rpartition(".")[2]
    style = '"' if isinstance(value, str) and "\n" in value else None
    text = yaml.safe_dump(value, default_flow_style=True, default_style=style, allow_unicode=True, width=10**6)
    text = text.removesuffix("\n...\n").strip()
    return text if len(text) <= 60 else f"{text[:60]}…"
