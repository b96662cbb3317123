"""Language modules and ranking modules: which one a stage builds on, and how they are composed after training."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import key_of, tell_place
from rerankbench.evaluation.summary import compare
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.trained import trained
from rerankbench.training.adaptation.adaptation import Adaptation

if TYPE_CHECKING:
    from rerankbench.training.stages.stage import TrainedRun

log = logging.getLogger("rerankbench")

Adapters = list[str | list[str]]


def with_stage_adapters(adaptation: Adaptation, stages: Path) -> Adaptation:
    """The adaptation with each base adapter that names an earlier language stage replaced by that stage's module.

    stages: the folder of the run's stages.
    """
    named = getattr(adaptation, "base_adapters", ())
    modules = {name: stages / name / "added" / "languages" / name for name in named}
    if not any(module.is_dir() for module in modules.values()):
        return adaptation
    base = [str(module) if module.is_dir() else name for name, module in modules.items()]
    resolved: Adaptation = replace(adaptation, base_adapters=base)  # type: ignore[type-var]
    tell_place(resolved, key_of(adaptation, ""))
    return resolved


def compositions(language: str, base: Sequence[str], checkpoint: Path) -> dict[str, Adapters]:
    """Name → the adapters of each composition of a ranking module with a language that it was not trained on.

    base: the languages that it was trained on. `xx` is that language's module instead of those; `yy-xx` leaves the
    query's tokens to the base module yy and gives the document's to xx (of sparse masks, both are added).
    """
    ranking = next((name for name in ("adapters/trained", "difference") if (checkpoint / name).is_dir()), None)
    if ranking is None or language in base:
        return {}
    composed: dict[str, Adapters] = {language: [f"languages/{language}", ranking]}
    for query_language in base:
        pair = [f"languages/{query_language}", f"languages/{language}"]
        composed[f"{query_language}-{language}"] = [*pair, ranking] if ranking == "difference" else [pair, ranking]
    return composed


def measured(name: str, adapters: Adapters, run: TrainedRun) -> dict[str, Any]:
    """A composition compared with the trained reranker, measure by measure, with paired tests.

    The trained reranker is zero-shot, in a language that it was not trained for. No measures where a composition gives
    all candidates of each query the same score.
    """
    log.info("measuring the composition %s", name)
    engine, test = Engine(run.store), run.test
    reranker = trained(str(run.folder), adapters=adapters)
    ranked = engine.rerank(reranker, test.queries, run.first_stage, run.documents)
    constant = engine.counts.constant_scores
    figures: dict[str, Any] = {}
    if constant == len(test.queries):  # ties keep the first-stage order: its measures would be taken for the model's
        log.warning("the composition %s gives all candidates of a query one score: it is not measured", name)
    else:
        for measure, after in run.measures.per_query(ranked, test.qrels, test.threshold).items():
            before = {values.query: values.reranked for values in run.per_query if values.measure == measure}
            figures[measure] = compare(before, after, run.seed, sum).to_json("zero_shot", "composed")
    return {"adapters": adapters, "queries_with_constant_scores": constant, "measures": figures}
