"""Every key of every option: a value of a wrong type or out of its range is refused before anything loads."""

from __future__ import annotations

import resource
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import annotated_types as at
import pytest
from omegaconf import OmegaConf

from rerankbench.cli import main
from rerankbench.config.check import check
from rerankbench.config.complete import STAGE_PARTS, node_at
from rerankbench.config.compose import compose, option_files
from rerankbench.config.options import groups
from rerankbench.config.overrides import read
from rerankbench.config.signature import parameters
from rerankbench.config.targets import resolve
from rerankbench.errors import ConfigError
from tests.conftest import rerankbench

OUTSIDE = {
    at.Ge: lambda b: b.ge - 1,
    at.Gt: lambda b: b.gt,
    at.Le: lambda b: b.le + 1,
    at.Lt: lambda b: b.lt,
    at.MinLen: lambda b: [] if b.min_length else None,
}
"""A value that a bound just refuses."""


def _nodes(node: Any, place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node with a target, and where it stands."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield place, node
        for name, inner in node.items():
            yield from _nodes(inner, f"{place}.{name}")
    elif isinstance(node, list):
        for index, inner in enumerate(node):
            yield from _nodes(inner, f"{place}[{index}]")


def _types(annotation: Any) -> Iterator[tuple[Any, list[Any]]]:
    """Each type of a union, and its bounds."""
    if get_origin(annotation) in (Union, types.UnionType):
        for part in get_args(annotation):
            yield from _types(part)
    elif get_origin(annotation) is Annotated:
        plain, *bounds = get_args(annotation)
        flat = [list(b) if isinstance(b, at.GroupedMetadata) else [b] for b in bounds]
        for part, inner in _types(plain):
            yield part, [*inner, *(bound for group in flat for bound in group)]
    else:
        yield annotation, []


def _wrong(annotation: Any) -> Iterator[Any]:
    """A value of no type that the annotation names, and values out of its bounds."""
    kinds = [get_origin(kind) or kind for kind, _ in _types(annotation)]
    if any(kind in (None, Any, object) for kind in kinds):
        return

    def takes(base: type) -> bool:
        return any(isinstance(kind, type) and kind is not str and issubclass(kind, base) for kind in kinds)

    yield ["wrong"] if not takes(Sequence) else {"wrong": 1} if not takes(Mapping) else 0.5
    if not takes(bool):
        yield True
    for _, bounds in _types(annotation):
        for bound in bounds:
            if type(bound) in OUTSIDE and (value := OUTSIDE[type(bound)](bound)) is not None:
                yield value


def _options() -> list[tuple[str, str]]:
    """The options that are nodes, not values for others'."""
    return [
        (group, name)
        for group, options in groups().items()
        for name, file in options.items()
        if "# @package _global_" not in file.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize(("group", "name"), _options(), ids=lambda value: value)
def test_every_key_is_checked(group: str, name: str) -> None:
    override = read(f"{group}={name}", groups())
    config, _ = option_files(None, [override], [])
    for place, node in _nodes(OmegaConf.to_container(node_at(config, override.place)), override.place):
        for key, parameter in parameters(resolve(node["_target_"], place), place).items():
            assert key in node or (place.startswith("recipe.stages.") and key in STAGE_PARTS), f"{place}.{key}"
            for value in _wrong(parameter.annotation):
                with pytest.raises(ConfigError) as told:
                    check({"_target_": node["_target_"], key: value}, place)
                assert told.value.key.startswith(f"{place}.{key}"), value
        with pytest.raises(ConfigError, match="unknown key"):
            check({"_target_": node["_target_"], "no_such_key": 1}, place)


WRONG = [
    ("reranker.depth=1.5", "reranker.depth: must be an integer"),
    ("reranker.strategy.depht=1", "reranker.strategy.depht: unknown key"),
    ("reranker.scorer.model.dtype=float64", "reranker.scorer.model.dtype: 'float64' is not a choice"),
    ("retriever.analyzer.stemmer=3", "retriever.analyzer.stemmer: must be true or false"),
    ("retriever.k=null", "retriever.k: must be an integer"),
    ("tracking.uri=[a]", "tracking.uri: must be text"),
]


@pytest.mark.parametrize("dry_run", ["true", "false"])
@pytest.mark.parametrize(("word", "expected"), WRONG, ids=lambda value: value)
def test_a_dry_run_refuses_the_same(
    word: str, expected: str, dry_run: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["eval", word, f"dry_run={dry_run}", f"run_dir={tmp_path / 'run'}"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {expected}")
    assert not (tmp_path / "run").exists()


def test_a_mistake_costs_little(tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = rerankbench("train", "recipe.loop.learning_rate=fast", cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2
    assert done.stderr == "error: recipe.loop.learning_rate: must be a number above 0, got 'fast'\n"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


PLUGIN = """\
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Le

from every_key_base import Base, Mode, Shade

@dataclass(kw_only=True)
class Mine(Base):
    mode: Mode = "fast"
    shade: Shade = Shade.light
    file: Path | None = None
    share: Annotated[float, Ge(0), Le(1)] = 0.5
"""
BASE = """\
from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Literal

from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.oracle import Oracle

Mode = Literal["fast", "exact"]

class Shade(enum.Enum):
    light = 1
    dark = 2

@dataclass(kw_only=True)
class Base(Oracle):
    speed: Mode = "exact"
    answers = Pointwise
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "reranker/scorer").mkdir(parents=True)
    (tmp_path / "every_key_base.py").write_text(BASE)
    (tmp_path / "every_key_mine.py").write_text(PLUGIN)
    (tmp_path / "reranker/scorer/mine.yaml").write_text("# Mine\n_target_: every_key_mine.Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


DEFAULTS = """\
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from every_key_base import Base, Shade

@dataclass(kw_only=True)
class Lazy(Base):
    shade: Shade = Shade.light
    file: Path = Path("a/b")
    sizes: tuple[int, ...] = (1, 2)
    words: "frozenset[str] | None" = frozenset({"b", "a"})
"""


def test_defaults_of_any_type_need_not_be_set(mine: Path) -> None:
    (mine / "every_key_lazy.py").write_text(DEFAULTS)
    (mine / "reranker/scorer/lazy.yaml").write_text("# Lazy\n_target_: every_key_lazy.Lazy\n")
    scorer = compose("eval", ["reranker=oracle", "reranker/scorer=lazy"], [mine]).parts["reranker"]["scorer"]
    assert (scorer["shade"].name, scorer["file"], scorer["sizes"]) == ("light", Path("a/b"), (1, 2))
    assert scorer["words"] == {"a", "b"}


def test_a_scorer_of_ones_own_may_use_aliases_enums_paths_and_a_base_in_another_file(mine: Path) -> None:
    words = ["reranker=oracle", "reranker/scorer=mine", "reranker.scorer.shade=dark", "reranker.scorer.file=a/b",
             "reranker.scorer.speed=fast", "reranker.scorer.noise=1"]  # fmt: skip
    scorer = compose("eval", words, [mine]).parts["reranker"]["scorer"]
    assert (scorer["shade"].name, scorer["file"], scorer["speed"]) == ("dark", Path("a/b"), "fast")
    for wrong, problem in [
        ("mode=fats", "'fats' is not a choice; did you mean 'fast'?"),
        ("speed=exat", "'exat' is not a choice; did you mean 'exact'?"),
        ("shade=drak", "'drak' is not a choice; did you mean 'dark'?"),
        ("file=[a]", "must be a path or null, got ['a']"),
        ("share=1.5", "must be at most 1, got 1.5"),
        ("nois=1", "unknown key; did you mean 'reranker.scorer.noise'?"),
    ]:
        with pytest.raises(ConfigError) as told:
            compose("eval", [*words, f"reranker.scorer.{wrong}"], [mine])
        assert str(told.value) == f"reranker.scorer.{wrong.partition('=')[0]}: {problem}"
