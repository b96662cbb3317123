"""Every kind of part can be added from a folder of one's own: a Python file, a YAML file, no change in the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rerankbench.cli import main
from tests.models.toy_model import save
from tests.training.toy_collection import save_collection

PLUGINS: dict[str, tuple[str, str, str, list[str]]] = {
    "strategy": (
        '''
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.rerankers.requests import Pointwise, by_score


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Score the first half only."""

    asks: ClassVar[type[Pointwise]] = Pointwise
    share: float = 0.5

    def rank(self, query, candidates):
        asked = candidates[: int(self.share * len(candidates))]
        answers = ((yield [Pointwise(query, c) for c in asked]) if asked else None) or []
        return by_score(candidates, {c.document.id: a for c, a in zip(asked, answers)})
''',
        "reranker/strategy/mine.yaml",
        "_target_: my_strategy.Halves\nshare: 0.5\n",
        ["eval", "reranker=oracle", "reranker/strategy=mine", "reranker.strategy.share=0.75"],
    ),
    "scorer": (
        '''
from dataclasses import dataclass, field
from typing import ClassVar

from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorer import Scorer
from rerankbench.usage import Usage


@dataclass(kw_only=True)
class Shortest(Scorer):
    """Shorter documents first."""

    answers: ClassVar[type[Pointwise]] = Pointwise
    weight: float = 1.0
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests):
        return [-self.weight * len(request.candidate.document.text) for request in requests]
''',
        "reranker/mine.yaml",
        "defaults:\n  - strategy: pointwise\n_target_: rerankbench.rerankers.reranker.Reranker\ndepth: 50\n"
        "scorer:\n  _target_: my_scorer.Shortest\n",
        ["eval", "reranker=mine", "reranker.scorer.weight=2"],
    ),
    "wrapper": (
        '''
from dataclasses import dataclass

from rerankbench.rerankers.wrappers.wrapper import WrappedScorer, Wrapper


class Negated(WrappedScorer):
    def answer(self, requests):
        return [-answer for answer in self.scorer.answer(requests)]


@dataclass(frozen=True, kw_only=True)
class Negate(Wrapper):
    """The worst first."""

    def wrap(self, scorer):
        return Negated(scorer, self)
''',
        "reranker/wrapper/mine.yaml",
        "_target_: my_wrapper.Negate\n",
        ["eval", "reranker=oracle", "reranker/wrapper@reranker.wrappers.mine=mine"],
    ),
    "retriever": (
        '''
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Longest:
    """The k longest documents, whatever the query."""

    k: int = 10

    def retrieve(self, benchmark, store):
        lengths = sorted(((len(d.text), d.id) for d in benchmark.corpus), reverse=True)[: self.k]
        return {query.id: [(d, float(n)) for n, d in lengths] for query in benchmark.queries}

    def fingerprint(self):
        return f"longest {self.k}"
''',
        "retriever/mine.yaml",
        "_target_: my_retriever.Longest\n",
        ["eval", "retriever=mine", "retriever.k=5", "reranker=identity"],
    ),
    "benchmark": (
        '''
from dataclasses import dataclass, replace

from rerankbench.benchmarks.local import Local


@dataclass(frozen=True, kw_only=True)
class Shouted(Local):
    """A local folder, its queries in capitals."""

    def load(self):
        found = super().load()
        return replace(found, queries=tuple(replace(query, parts=query.text.upper()) for query in found.queries))
''',
        "benchmark/mine.yaml",
        "_target_: my_benchmark.Shouted\npath: ???\n",
        ["eval", "benchmark=mine", "reranker=identity"],
    ),
    "perturbation": (
        '''
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class FirstWord:
    """Only the first word of every query."""

    def apply(self, benchmark):
        queries = tuple(replace(query, parts=query.text.split()[0]) for query in benchmark.queries)
        return replace(benchmark, queries=queries)
''',
        "perturbation/mine.yaml",
        "mine:\n  _target_: my_perturbation.FirstWord\n",
        ["eval", "perturbation=mine", "reranker=identity"],
    ),
    "analysis": (
        '''
from dataclasses import dataclass

from rerankbench.tracking.records import AnalysisResult


@dataclass(frozen=True, kw_only=True)
class Depths:
    """How many documents each query has."""

    def run(self, context):
        rows = [[query, len(ranking)] for query, ranking in context.run.items()]
        return AnalysisResult(figures={"documents": float(sum(n for _, n in rows))}, columns=["query", "n"], rows=rows)
''',
        "analysis/mine.yaml",
        "mine:\n  _target_: my_analysis.Depths\n",
        ["eval", "analysis=mine", "reranker=identity"],
    ),
    "measure": (
        '''
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FirstIsBest:
    """1 where the first document has the highest grade."""

    def __call__(self, ranking, grades, threshold):
        best = max(grades.values(), default=0)
        return float(bool(ranking) and grades.get(ranking[0], 0) == best)
''',
        "measures/mine.yaml",
        "names: [ndcg@10, first_is_best]\nown:\n  first_is_best:\n    _target_: my_measure.FirstIsBest\n",
        ["eval", "measures=mine", "reranker=identity"],
    ),
    "loss": (
        '''
from dataclasses import dataclass
from typing import ClassVar

from rerankbench.training.losses.loss import Loss
from rerankbench.training.scored import Unit


@dataclass(frozen=True, kw_only=True)
class Squared(Loss):
    """(score - label)²."""

    unit: ClassVar[Unit] = "item"
    scale: float = 1.0

    def values(self, scored):
        return self.scale * (scored.scores - scored.labels) ** 2
''',
        "recipe/loss/mine.yaml",
        "_target_: my_loss.Squared\nscale: 0.5\n",
        ["train", "recipe/loss=mine", "recipe.loss.scale=2", "recipe/groups=bm25"],
    ),
    "weighting": (
        '''
from dataclasses import dataclass

from rerankbench.training.weighting.weighting import AppliedWeighting, Weighting


class Doubled(AppliedWeighting):
    def weights(self, scored, values):
        return 2 * values.valid.float()


@dataclass(frozen=True, kw_only=True)
class Double(Weighting):
    """Everything counts twice."""

    def begin(self):
        return Doubled()
''',
        "recipe/weighting/mine.yaml",
        "_target_: my_weighting.Double\n",
        ["train", "recipe/weighting=mine", "recipe/groups=bm25", "recipe/loss=lce"],
    ),
    "adaptation": (
        '''
from dataclasses import dataclass

from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation


@dataclass(frozen=True, kw_only=True)
class Biases(Adaptation):
    """Train the biases only (BitFit, arXiv 2106.10199)."""

    def apply(self, network, seed):
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name.endswith("bias"))
        return AppliedAdaptation(network)
''',
        "recipe/adaptation/mine.yaml",
        "_target_: my_adaptation.Biases\n",
        ["train", "recipe/adaptation=mine"],
    ),
    "stage": (
        '''
from dataclasses import dataclass

from rerankbench.training.stages.supervised import Supervised


@dataclass(frozen=True, kw_only=True)
class Short(Supervised):
    """A supervised stage that says so."""

    def run(self, context, name):
        context.counts["short_stages"] = 1
        super().run(context, name)
''',
        "recipe/mine.yaml",
        "defaults:\n  - bi_encoder\n  - _self_\nstages:\n  supervised:\n    _target_: my_stage.Short\n",
        ["train", "recipe=mine"],
    ),
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plugins")
    save_collection(folder / "toy", train=12, dev=6, test=8)
    save(folder / "bert")
    return folder


@pytest.mark.parametrize("kind", PLUGINS)
def test_a_part_of_ones_own_is_two_files(kind: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    import torch

    torch.set_num_threads(1)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "path", [*sys.path])
    python, file, option, (command, *words) = PLUGINS[kind]
    folder = place / f"mine-{kind}"
    (folder / file).parent.mkdir(parents=True)
    (folder / f"my_{kind}.py").write_text(python)
    (folder / file).write_text(f"# A {kind} of one's own\n{option}")
    if "benchmark=mine" not in words:
        words = ["benchmark=local", *words]
    if command == "train":
        words += ["model=path", "model.path=bert", "recipe.loop.max_steps=2", "recipe.loop.batch_groups=4",
                  "recipe.loop.evaluations=1"]  # fmt: skip
    words += ["benchmark.path=toy", "tracking=none", f"run_dir={kind}", "store.dir=store"]
    assert main([command, "--config-dir", str(folder), *words]) == 0
    record: dict[str, Any] = json.loads((place / kind / "metrics.json").read_text())
    assert record["queries"] == 8
    if kind == "measure":
        assert 0 <= record["measures"]["first_is_best"]["reranked"] <= 1
    if kind == "analysis":
        assert (place / kind / "analysis" / "mine.json").is_file()
    if kind == "stage":
        assert record["training"]["counts"]["short_stages"] == 1
    assert main([command, "--config-dir", str(folder), *words, "seed=text"]) == 2
