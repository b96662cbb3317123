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
    for name in [name for name in sys.modules if name.startswith("compose_")]:  # another test's
        del sys.modules[name]
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
        (["+retriever.analyzer.stemer=true"], f"retriever.analyzer.stemer: {UNKNOWN} 'retriever.analyzer.stemmer'?"),
        (["++model.pth=x"], f"reranker.scorer.model.pth: {UNKNOWN} 'reranker.scorer.model.path'?"),
        (["+sede=1"], "sede: unknown key; did you mean 'seed'?"),
        (["store.dri=x"], "store.dri: unknown key; did you mean 'store.dir'?"),
        (["+store.dri=x"], "store.dri: unknown key; did you mean 'store.dir'?"),
        (["~retriever.k2"], "retriever.k2: unknown key; did you mean 'retriever.k'?"),
        (["reranker.depth=1.5"], "reranker.depth: must be an integer at least 0 or null, got 1.5"),
        (["reranker.depth=true"], "reranker.depth: must be an integer"),
        (["retriever.k=null"], "retriever.k: must be an integer at least 1, got null"),
        (["force=maybe"], "force: must be true or false, got 'maybe'"),
        (["measures.names=ndcg@10"], "measures.names: must be a list, got 'ndcg@10'"),
        (["benchmark.fields=[title,[text]]"], "benchmark.fields[1]: must be text"),
        (["model.dtype=float64"], "reranker.scorer.model.dtype: 'float64' is not a choice; did you mean 'float16'?"),
        (["retriever.method=bm25"], "retriever.method: 'bm25' is not a choice; did you mean 'bm25"),
        (["benchmark=pydoc"], "benchmark: no option 'pydoc'; did you mean 'pydocs'?"),
        (["reranker/scorer=oracl"], "reranker/scorer: no option 'oracl'; did you mean 'oracle'?"),
        (["reranker/scoring=oracle"], "reranker/scoring: unknown key; did you mean 'reranker/scorer'?"),
        (["benchmrk=local"], "benchmrk: unknown key; did you mean 'benchmark'?"),
        (["+reranker=oracle"], "reranker: write reranker=oracle (the group is there already; no +)"),
        (["+experiment=x"], "experiment: write experiment=x (the group is there already; no +)"),
        (["size=smal"], "size: no option 'smal'; did you mean 'small'?"),
        (["reranker=null"], "reranker: needs an option; choose from: "),
        (["reranker/strategy=null"], "reranker/strategy: needs an option; choose from: "),
        (["seed=-1"], "seed: must be at least 0, got -1"),
        (["retriever@reranker=bm25"], "reranker: must be a reranker, got rerankbench.retrievers.bm25.BM25"),
        (["reranker@retriever=identity"], "retriever: must be a retriever, got rerankbench.rerankers.reranker."),
        (["model=hub"], "reranker.scorer.model.path: must be given: reranker.scorer.model.path=…"),
        (["retriever=run_file"], "retriever.path: must be given: retriever.path=…"),
        (["model.path=${nothing}"], "reranker.scorer.model.path: Interpolation key 'nothing' not found"),
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
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.scorers.oracle import Oracle
from rerankbench.rerankers.strategies.pointwise import ScoreAll

@dataclass(kw_only=True)
class Preference(Scorer):
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
    assert told.startswith("reranker.scorer: answers Pairwise requests, but the strategy asks Pointwise requests; ")
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
    text = "from rerankbench.rerankers import requests, scorer\n\n\n"
    text += "class Flat(scorer.Scorer):\n    answers = requests.Pointwise\n"
    folder = mine({"compose_flat.py": text, "reranker/scorer/flat.yaml": "# Flat\n_target_: compose_flat.Flat\n"})
    assert compose("eval", ["reranker=oracle", "reranker/scorer=flat"], [folder])


def test_passages_are_for_strategies_that_ask_about_one_document() -> None:
    passages = ["reranker=oracle", "reranker/passages=maxp"]
    assert compose("eval", passages)
    told = _problem(*passages, "reranker/strategy=setwise_heapsort")
    assert told == "reranker.passages: are scored one by one, but the strategy asks Setwise requests"


def _models(*overrides: str) -> dict[str, str]:
    """Where a model is inside the reranker → the option that it is."""
    chosen = compose("eval", overrides).choices.items()
    return {key.partition("@")[2].removeprefix("reranker."): name for key, name in chosen if key.startswith("model@")}


CASCADE = ("reranker=cascade", "reranker@reranker.first=bi_encoder", "reranker@reranker.second=query_likelihood")


def test_rerankers_inside_a_reranker_have_models_of_their_own() -> None:
    assert _models(*CASCADE) == {"first.scorer.model": "minilm", "second.scorer.model": "smollm2"}
    chosen = _models(*CASCADE, "model@reranker.first.scorer.model=ms_marco_minilm")
    assert chosen == {"first.scorer.model": "ms_marco_minilm", "second.scorer.model": "smollm2"}
    deep = ["reranker@reranker.first=cascade", "reranker@reranker.first.second=yes_no"]
    assert _models("reranker=cascade", *deep, "model@reranker.first.first.scorer.model=splade") == {
        "first.first.scorer.model": "splade",
        "first.second.scorer.model": "smollm2",
        "second.scorer.model": "minilm",
    }
    third = ["reranker=aggregate", "reranker@reranker.rerankers.third=yes_no"]
    assert _models(*third)["rerankers.third.scorer.model"] == "smollm2"
    prompt = compose("eval", [*third, "prompt.start=Well"]).config.reranker.rerankers.third.scorer.prompt
    assert prompt.start == "Well"


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (
            [*CASCADE, "model.path=x"],
            "model.path: there are several; say which: reranker.first.scorer.model.path=…, "
            "reranker.second.scorer.model.path=…",
        ),
        (
            ["reranker=cascade", "model=hub"],
            "model: there are several; say which: model@reranker.first.scorer.model=…, "
            "model@reranker.second.scorer.model=…",
        ),
        (["reranker=identity", "model=hub"], "model: the reranker has no model that could be set"),
        (["reranker=trained", "reranker.run=x", "model.dtype=float32"], "model.dtype: the reranker has no model"),
        (["reranker=cross_encoder", "prompt=yes_no"], "prompt: the reranker has no prompt that could be set"),
        (["reranker=yes_no", "reranker/scorer=cross_encoder", "prompt.start=x"], "prompt.start: the reranker has no"),
        (["reranker=oracle", "reranker/scorer=bi_encoder"], "reranker.scorer.model: must be given: model@reranker."),
        (["model=http"], "reranker.scorer.model.name: must be given: reranker.scorer.model.name=…"),
        (["model=http", "model.name=x"], "reranker.scorer.model: must be a node of Model, got a node of Endpoint"),
        (["model@reranker.scorer.modl=hub"], "reranker.scorer.modl: unknown key; did you mean 'model'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_model_that_has_no_one_place_is_refused(overrides: list[str], expected: str) -> None:
    assert _problem(*overrides).startswith(expected)


@pytest.mark.parametrize("reranker", ["identity", "oracle", "cascade", "knrm"])
@pytest.mark.parametrize("experiment", ["recipe=cross_encoder", "experiment=monobert"])
def test_what_a_recipe_sets_in_another_reranker_is_left_out(reranker: str, experiment: str) -> None:
    config = compose("train", [experiment, f"reranker={reranker}"]).config
    assert ("model" in (config.reranker.get("scorer") or {})) == (reranker == "knrm")


def test_another_scorer_leaves_out_the_prompt_of_the_former() -> None:
    composed = compose("eval", ["reranker=yes_no", "reranker/scorer=cross_encoder"])
    assert "prompt" not in composed.config.reranker.scorer
    assert not any("prompt" in key for key in composed.choices)


def test_a_chosen_model_replaces_one_that_an_option_writes_out(mine: Callable[[dict[str, str]], Path]) -> None:
    scorer = "scorer:\n  _target_: rerankbench.rerankers.scorers.yes_no.YesNo\n  model:\n"
    text = "# Mine\ndefaults:\n  - strategy: pointwise\n  - /prompt@scorer.prompt: yes_no\n  - _self_\n" + scorer
    text = f"{text}    _target_: rerankbench.models.model.Model\n    path: x\n    dtype: float32\n"
    folder = mine({"reranker/mine.yaml": f"{text}_target_: rerankbench.rerankers.reranker.Reranker\n"})
    for model in ("model=http", "model@reranker.scorer.model=http"):
        config = compose("eval", ["reranker=mine", model, "model.name=y"], [folder]).config
        assert config.reranker.scorer.model.name == "y"
        assert "dtype" not in config.reranker.scorer.model
        assert config.reranker.scorer.prompt.labels


def test_a_name_of_an_earlier_version_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    loop = compose("train", ["recipe.loop.recompute=true"]).config.recipe.loop
    assert loop.activation_checkpointing is True
    assert "recipe.loop.recompute is the name of an earlier version" in caplog.text


def test_an_experiment_at_a_size_of_its_own() -> None:
    composed = compose("train", ["experiment=curriculum", "size=small"])
    assert composed == compose("train", ["experiment=small/curriculum"])
    assert composed.choices["reranker"] == "knrm"
    told = _problem("experiment=curriculum", "size=small", "reranker.dept=3", command="train")
    assert told == "reranker.dept: unknown key; did you mean 'reranker.depth'?"
    assert _problem("experiment=smal/curriculum", command="train").startswith("experiment: no option 'smal/curriculum'")


def test_a_stage_takes_its_recipes_parts_and_may_change_them() -> None:
    recipe = compose(
        "train", ["recipe.loop.epochs=7", "recipe.stages.supervised.loop.learning_rate=1e-6"]
    ).config.recipe
    stage = recipe.stages.supervised
    assert (stage.loop.epochs, stage.loop.learning_rate) == (7, 1e-6) != (7, recipe.loop.learning_rate)
    assert stage.loss == recipe.loss
    other = compose("train", ["recipe/loss@recipe.stages.supervised.loss=bce"]).config.recipe
    assert other.stages.supervised.loss._target_.endswith("BinaryCrossEntropy") and other.loss == recipe.loss
    for word, expected in [
        ("recipe.stages.foo.loop.epochs=1", "recipe.stages.foo.loop.epochs: unknown key; did you mean"),
        ("recipe.stages.supervised.loop.epoch=1", "recipe.stages.supervised.loop.epoch: unknown key; did you mean"),
        ("recipe.loop.learning_rate=-1", "recipe.loop.learning_rate: must be above 0, got -1"),
    ]:
        assert _problem(word, command="train").startswith(expected)


def test_a_node_given_whole_replaces_and_mappings_take_new_keys() -> None:
    groups = "{_target_: rerankbench.rerankers.strategies.groupwise.Groups}"
    words = ["reranker=grouprank", f"reranker.strategy={groups}", "measures.own={}"]
    assert "Groups" in str(compose("eval", words).config.reranker.strategy._target_)
    listwise = "{_target_: rerankbench.rerankers.strategies.listwise.OneShot}"
    config = compose("eval", ["reranker=rankgpt", f"reranker.strategy={listwise}"]).config
    assert "window" not in config.reranker.strategy
    http = ["reranker=yes_no", "model=http", "model.name=x", "model.extra_body.top_k=3"]
    assert compose("eval", http).config.reranker.scorer.model.extra_body == {"top_k": 3}


def test_an_old_style_experiment_is_shown_the_way(mine: Callable[[dict[str, str]], Path]) -> None:
    old = "# @package _global_\n# Old\nmodel:\n  path: x\n"
    told = _problem("experiment=old", folders=(mine({"experiment/old.yaml": old}),))
    assert told == "model: unknown key; a part of the scorer: reranker.scorer.model"
