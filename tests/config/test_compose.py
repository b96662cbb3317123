"""Composition: which file wins over which, folders of one's own, and one line for every mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError

UNKNOWN = "unknown key; did you mean"


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str]], Path]:
    """A function that writes a folder of options and Python files of one's own."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(content)
        return tmp_path

    monkeypatch.setattr("sys.path", [*sys.path])
    return write


def _problem(*overrides: str, folders: tuple[Path, ...] = (), command: str = "eval") -> str:
    with pytest.raises(ConfigError) as told:
        compose(command, overrides, folders)
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["retriever.anlyzer.b=1"], "retriever.anlyzer.b: unknown key; did you mean 'retriever.analyzer'?"),
        (["retriever.analyzer.stemer=1"], f"retriever.analyzer.stemer: {UNKNOWN} 'retriever.analyzer.stemmer'?"),
        (["+retriever.analyzer.stemer=true"], "retriever.analyzer.stemer: unknown key; did you mean 'stemmer'?"),
        (["++model.pth=x"], "model.pth: unknown key; did you mean 'path'?"),
        (["+sede=1"], "sede: unknown key; did you mean 'seed'?"),
        (["store.dri=x"], "store.dri: unknown key; did you mean 'store.dir'?"),
        (["+store.dri=x"], "store.dri: unknown key; did you mean 'dir'?"),
        (["~retriever.k2"], "retriever.k2: unknown key; did you mean 'retriever.k'?"),
        (["reranker.depth=1.5"], "reranker.depth: must be an integer, got 1.5"),
        (["reranker.depth=true"], "reranker.depth: must be an integer"),
        (["retriever.k=null"], "retriever.k: must be an integer, got null"),
        (["force=maybe"], "force: must be true or false, got 'maybe'"),
        (["measures.names=ndcg@10"], "measures.names: must be a list, got 'ndcg@10'"),
        (["benchmark.fields=[title,[text]]"], "benchmark.fields[1]: must be text"),
        (["model.dtype=float64"], "model.dtype: 'float64' is not a choice; did you mean 'float16'?"),
        (["retriever.method=bm25"], "retriever.method: 'bm25' is not a choice; did you mean 'bm25"),
        (["benchmark=pydoc"], "benchmark: no option 'pydoc'; did you mean 'pydocs'?"),
        (["reranker/scorer=oracl"], "reranker/scorer: no option 'oracl'; did you mean 'oracle'?"),
        (["reranker/scoring=oracle"], "reranker/scoring: unknown key; did you mean 'reranker/scorer'?"),
        (["benchmrk=local"], "benchmrk: unknown key; did you mean 'benchmark'?"),
        (["+reranker=oracle"], "reranker: write reranker=oracle (the group is there already; no +)"),
        (["+experiment=x"], "experiment: write experiment=x (the group is there already; no +)"),
        (["size=smal"], "size: no option 'smal'; did you mean 'small'?"),
        (["model=hub"], "model.path: must be given: model.path=…"),
        (["retriever=run_file"], "retriever.path: must be given: retriever.path=…"),
        (["model.path=${nothing}"], "model.path: Interpolation key 'nothing' not found"),
        (["reranker=identity", "reranker/scorer=oracle"], "reranker.scorer: takes no scorer: the strategy asks"),
        (["reranker=oracle", "~reranker/scorer"], "reranker.scorer: must be given: the strategy asks Pointwise"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_a_mistake_names_its_key_and_the_nearest(overrides: list[str], expected: str) -> None:
    assert _problem(*overrides).startswith(expected)


SCORER = """\
from dataclasses import dataclass, field
from typing import Any, ClassVar
from rerankbench.usage import Usage
from rerankbench.rerankers.scorers.oracle import Oracle
from rerankbench.rerankers.strategies.pointwise import ScoreAll

@dataclass(kw_only=True)
class Preference:
    answers: ClassVar[str] = "Pairwise"
    usage: Usage = field(init=False, default_factory=Usage)

class Lazy(ScoreAll):
    pass

class Wise(Oracle):
    pass
"""


def test_a_scorer_that_answers_other_questions_is_refused(mine: Callable[[dict[str, str]], Path]) -> None:
    folder = mine(
        {"compose_parts.py": SCORER, "reranker/scorer/duo.yaml": "# Duo\n_target_: compose_parts.Preference\n"}
    )
    told = _problem("reranker=oracle", "reranker/scorer=duo", folders=(folder,))
    assert told.startswith("reranker.scorer: answers 'Pairwise' requests, but the strategy asks Pointwise requests; ")
    assert "oracle" in told.partition("scorers that do:")[2]


def test_parts_inherit_what_they_ask_and_answer(mine: Callable[[dict[str, str]], Path]) -> None:
    folder = mine(
        {
            "compose_parts.py": SCORER,
            "reranker/strategy/lazy.yaml": "# Lazy\n_target_: compose_parts.Lazy\n",
            "reranker/scorer/wise.yaml": "# Wise\n_target_: compose_parts.Wise\nnoise: 1\n",
        }
    )
    config = compose("eval", ["reranker=oracle", "reranker/strategy=lazy", "reranker/scorer=wise"], [folder]).config
    assert config.reranker.scorer.noise == 1
    told = _problem("reranker=identity", "reranker/strategy=lazy", folders=(folder,))
    assert told == "reranker.scorer: must be given: the strategy asks Pointwise requests"


def test_a_folder_of_ones_own_adds_options_experiments_and_sizes(mine: Callable[[dict[str, str]], Path]) -> None:
    folder = mine(
        {
            "retriever/shallow.yaml": "# Few\n_target_: rerankbench.retrievers.bm25.BM25\nk: 5\n",
            "experiment/paper.yaml": "# @package _global_\n# A paper\n"
            "defaults:\n  - override /retriever: shallow\n  - override /reranker: oracle\n"
            "seed: 7\nname: paper\nreranker:\n  depth: 3\n  scorer:\n    noise: 0.5\n",
            "size/tiny.yaml": "# @package _global_\n# Two queries\nbenchmark:\n  queries: 2\nreranker:\n  depth: 2\n",
        }
    )
    composed = compose("eval", ["experiment=paper"], [folder])
    config = composed.config
    assert (composed.choices["retriever"], composed.choices["reranker"]) == ("shallow", "oracle")
    # What an experiment sets goes before the primary configuration and before the options that it chose,
    assert (config.seed, config.name, config.retriever.k, config.reranker.depth) == (7, "paper", 5, 3)
    assert config.reranker.scorer.noise == 0.5
    assert composed.parts["reranker"]["scorer"]["seed"] == 7
    # a size before an experiment, and the command line before all of them.
    sized = compose("eval", ["size=tiny", "experiment=paper"], [folder]).config
    assert (sized.seed, sized.benchmark.queries, sized.reranker.depth) == (7, 2, 2)
    typed = compose("eval", ["reranker.depth=9", "experiment=paper", "size=tiny", "seed=1", "retriever=bm25"], [folder])
    assert (typed.config.seed, typed.config.reranker.depth, typed.choices["retriever"]) == (1, 9, "bm25")
    assert "did you mean 'paper'?" in _problem("experiment=papr", folders=(folder,))
    trained = compose("train", ["experiment=paper", "size=tiny"], [folder]).config
    assert (trained.seed, trained.reranker.depth) == (7, 2)


def test_two_folders_may_be_given_and_both_are_suggested_from(mine: Callable[[dict[str, str]], Path]) -> None:
    folder = mine(
        {
            "one/retriever/first.yaml": "# One\n_target_: rerankbench.retrievers.bm25.BM25\nk: 1\n",
            "two/retriever/second.yaml": "# Two\n_target_: rerankbench.retrievers.bm25.BM25\nk: 2\n",
        }
    )
    folders = (folder / "one", folder / "two")
    assert [compose("eval", [f"retriever={name}"], folders).config.retriever.k for name in ("first", "second")] == [
        1,
        2,
    ]
    assert "did you mean 'second'?" in _problem("retriever=secnd", folders=folders)
    assert _problem(folders=(folder / "three",)) == f"--config-dir: no such folder: {folder / 'three'}"


def test_composing_twice_gives_the_same_and_leaves_hydra_out() -> None:
    first, second = compose("eval", ["size=small"]), compose("eval", ["size=small"])
    assert first == second
    assert "hydra" not in first.config
    assert not any(group.startswith("hydra") for group in first.choices)
    assert compose("eval", []).config.benchmark.queries is None


def test_a_question_may_be_imported_with_its_module(mine: Callable[[dict[str, str]], Path]) -> None:
    text = "from rerankbench.rerankers import requests\n\n\nclass Flat:\n    answers = requests.Pointwise\n"
    folder = mine({"compose_flat.py": text, "reranker/scorer/flat.yaml": "# Flat\n_target_: compose_flat.Flat\n"})
    assert compose("eval", ["reranker=oracle", "reranker/scorer=flat"], [folder])


def test_passages_are_for_strategies_that_ask_about_one_document() -> None:
    passages = ["reranker=oracle", "reranker/passages=maxp"]
    assert compose("eval", passages)
    told = _problem(*passages, "reranker/strategy=setwise_heapsort")
    assert told == "reranker.passages: are scored one by one, but the strategy asks Setwise requests"


def test_rerankers_inside_a_reranker_do_not_get_one_anothers_model() -> None:
    with pytest.raises(ConfigError, match=r"share one model, but reranker\.first wants minilm, .*second wants smollm2"):
        compose("eval", ["reranker=cascade", "reranker@reranker.second=yes_no"])
    with pytest.raises(ConfigError, match="share one prompt"):
        compose("eval", ["reranker=cascade", "reranker@reranker.first=yes_no", "reranker@reranker.second=rankgpt"])
    own = "+model@reranker.first.scorer.model=minilm"
    config = compose("eval", ["reranker=cascade", "reranker@reranker.second=yes_no", own]).config
    assert config.reranker.first.scorer.model.wheel != config.reranker.second.scorer.model.wheel
    shared = compose("eval", ["reranker=cascade", "reranker@reranker.second=yes_no", "model=smollm2"]).config
    assert shared.reranker.first.scorer.model == shared.reranker.second.scorer.model
