"""The gate: `_target_` reaches what is defined here, and nothing else, however deep it stands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError

BM25 = "rerankbench.retrievers.bm25.BM25"
ANALYZER = "rerankbench.retrievers.analyzer.Analyzer"
RUN_FILE = "rerankbench.retrievers.run_file.RunFile"
OUTSIDE = [
    "os.system",
    "posix.system",
    "subprocess.Popen",
    "functools.partial",
    "builtins.eval",
    "eval",
    "",
    ".",
    "pathlib.Path",
    "rerankbench.evaluate.Path",
    "rerankbench.evaluate.Benchmark",
    "rerankbench.cli.os",
    "rerankbench.cli.os.system",
    "rerankbench.cli.sys.modules",
    "rerankbench.store.Store.run",
    "rerankbench.store.os.system",
    "rerankbench..store.Store",
    "rerankbench.store.",
    ".rerankbench.store.Store",
    "rerankbench.types.Run",
    "rerankbench.tracking.run_folder._remove",
    "rerankbench.store.write_atomically",
    "rerankbench.cli.main",
    "rerankbench.no_module.X",
    "hydra.utils.instantiate",
]


@pytest.mark.parametrize("target", OUTSIDE)
def test_what_is_not_defined_here_is_refused_by_its_place(target: str) -> None:
    node = {"_target_": target}
    for gate in (check, build):
        with pytest.raises(ConfigError, match=r"^place\._target_: "):
            gate(node, "place")
    inner = {"_target_": BM25, "analyzer": {"_target_": target}}
    with pytest.raises(ConfigError, match=r"^place\[1\]\.analyzer\._target_: "):
        check([1, inner], "place")
    with pytest.raises(ConfigError, match=r"^place\.free\.analyzer\._target_: "):
        build({"free": inner}, "place")


def test_a_target_outside_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil_package").mkdir()
    for name in ("evil_package/__init__.py", "evil_package/inner.py", "evil_module.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for target in ("evil_package.inner.Thing", "evil_package.Thing", "evil_module.Thing", "evil_package.no.Thing"):
        for gate in (check, build):
            with pytest.raises(ConfigError):
                gate({"_target_": target}, "x")
    assert not {"evil_package", "evil_module"} & set(sys.modules)


def test_aliases_in_a_trusted_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "alias_plugin.py").write_text(
        "import functools, os, subprocess\nfrom subprocess import Popen\n"
        "run = os.system\npart = functools.partial(run)\n"
        "class Honest:\n    pass\n\ndef swapped(): pass\nswapped = functools.partial(os.system, 'true')\n"
        "class gone: pass\ndel gone\n"
        "@functools.wraps(subprocess.run)\ndef dressed(**options): return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match="neither in rerankbench nor"):
        check({"_target_": "alias_plugin.Honest"}, "x")
    assert type(build(check({"_target_": "alias_plugin.Honest"}, "x", [tmp_path]), "x")).__name__ == "Honest"
    for name in ("run", "part", "Popen", "os", "swapped", "gone", "dressed"):
        with pytest.raises(ConfigError, match=r"x\._target_"):
            check({"_target_": f"alias_plugin.{name}"}, "x", [tmp_path])


def test_inner_nodes_are_built_first_and_lists_and_maps_are_walked() -> None:
    node = {"_target_": BM25, "k": 7, "analyzer": {"_target_": ANALYZER, "language": "de"}}
    built = build(check({"some": [node], "plain": 3}, ""), "")
    assert built["plain"] == 3
    assert (built["some"][0].k, built["some"][0].analyzer.language) == (7, "de")


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"_target_": BM25, "kk": 1}, "place.kk: unknown key; did you mean 'k'?"),
        ({"_target_": BM25, "k": "many"}, "place.k: must be an integer at least 1, got 'many'"),
        ({"_target_": BM25, "method": "lucen"}, "place.method: 'lucen' is not a choice; did you mean 'lucene'?"),
        ({"_target_": BM25, "analyzer": "en"}, "place.analyzer: must be a node of Analyzer, got 'en'"),
        (
            {"_target_": BM25, "analyzer": {"_target_": ANALYZER, "steemer": True}},
            "place.analyzer.steemer: unknown key; did you mean 'stemmer'?",
        ),
        ({"_target_": RUN_FILE}, f"place.path: must be given ({RUN_FILE} needs it)"),
        ({"_target_": BM25, "_partial_": True}, "place._partial_: unknown key"),
        ({"_target_": BM25, "_args_": [1]}, "place._args_: unknown key"),
    ],
)
def test_a_mistake_is_told_where_it_stands(node: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as told:
        check(node, "place")
    assert str(told.value).startswith(message)


def test_what_a_constructor_refuses_is_told_with_its_place() -> None:
    node = {"_target_": BM25, "analyzer": {"_target_": ANALYZER, "language": "xx"}}
    with pytest.raises(ConfigError, match=r"^retriever\.analyzer\.(analyzer\.)?language: unknown language 'xx'"):
        build(check(node, "retriever"), "retriever")
    with pytest.raises(ConfigError, match=r"^retriever\.k: must be at least 1"):
        build(check({"_target_": BM25, "k": 0}, "retriever"), "retriever")


def test_the_program_fills_in_what_only_it_has() -> None:
    node = check({"_target_": "rerankbench.rerankers.scorers.oracle.Oracle"}, "x")
    benchmark = object()
    assert build(node, "x", benchmark=benchmark).benchmark is benchmark
