"""Train: benchmark → groups → stages → checkpoint → evaluation → record. The whole program, top to bottom."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rerankbench.analyses.analysis import AnalysisContext
from rerankbench.benchmarks.perturbations.perturbation import perturbed
from rerankbench.config.build import build
from rerankbench.config.compose import Composed
from rerankbench.errors import ConfigError
from rerankbench.evaluate import Evaluation, configured_measures, named
from rerankbench.evaluation.records import StageSummary, TrainingSummary
from rerankbench.evaluation.summary import compare
from rerankbench.profiling import Clock, profiled
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.trained import trained
from rerankbench.retrievers.first_stage import retrieve
from rerankbench.store import Store
from rerankbench.tracking.config_record import resolved
from rerankbench.tracking.curves import draw
from rerankbench.tracking.history import History
from rerankbench.tracking.run_folder import RunFolder, default_run_dir
from rerankbench.training.data import load_sets
from rerankbench.training.recipe import Recipe
from rerankbench.training.run import remove_stages, stage_figures, train_stages, trainable_scorer
from rerankbench.training.stages.stage import TrainedRun

log = logging.getLogger("rerankbench")

PerQuery = Mapping[str, Mapping[str, float]]
"""Measure → query id → value."""


def train(composed: Composed) -> Path | None:
    """Train the reranker by the recipe, evaluate it, and return the run folder; None in all processes but the first.

    A folder that is finished with the same configuration is left as it is; an unfinished one resumes from its last
    checkpoint. Under torchrun every process calls this. Raises UserError for the user's mistakes.
    """
    parts, choices = composed.parts, composed.choices
    config = named(composed, ("benchmark", "reranker", "recipe"))
    tracking, measures = build(parts["tracking"], "tracking"), configured_measures(parts)
    is_main_process, path = _processes(Path(parts["run_dir"]) if parts["run_dir"] else None, config.name)
    if not is_main_process:
        log.setLevel(logging.ERROR)  # the first one reports for all
    with _open(path, resolved(config), parts["force"], is_main_process) as folder:
        if folder.finished:
            log.info("%s is finished; force=true runs it again", path)
            if is_main_process:
                remove_stages(path)
                tracking.log(path)  # in case the process was killed before it was logged
            return path if is_main_process else None
        clock = Clock()
        recipe: Recipe = build(parts["recipe"], "recipe")
        retriever = build(parts["retriever"], "retriever")
        with clock.phase("benchmark", f"loading benchmark {choices['benchmark']}"):
            sets = load_sets(parts["benchmark"], recipe, parts["seed"])
            test = perturbed(sets.test, build(parts["perturbation"], "perturbation"))
        reranker = build(parts["reranker"], "reranker", benchmark=test, folders=composed.folders)
        scorer = trainable_scorer(reranker, recipe)

        with folder.recording():
            if is_main_process and not parts["resume"]:
                remove_stages(path)
            _wait_for_all()
            store = Store(Path(parts["store"]["dir"]))
            data = sets.retrieved(retriever, store, clock, choices["retriever"], recipe)
            candidates = retrieve(test, retriever, store, clock, choices["retriever"])
            log.info("%s: %d test, %d dev queries", test.name, len(test.queries), len(data.dev))
            evaluation = Evaluation(composed, folder, test, *candidates, measures, store, clock)
            untrained = measure_untrained(reranker, evaluation) if is_main_process else None

            history = History(path / "history.jsonl")
            profile = path / "profile.txt" if parts["profile"] and is_main_process else None
            with clock.phase("train", f"training by {choices['recipe']}"), profiled(profile):
                result = train_stages(
                    recipe, scorer, data, store, path, parts["seed"], history.append, history.truncate, is_main_process
                )
            if not is_main_process:
                return None
            draw(history, path / "curves.png")

            best = trained(str(path), folders=composed.folders)
            metrics, context = evaluation.rerank(best, f"the trained {choices['reranker']}")
            with clock.phase("measure", "comparing with the untrained reranker"):
                comparison = compare_with_untrained(untrained, context)
                trained_run = TrainedRun(
                    path, recipe.stages, test, context.first_stage, context.documents, store, measures,
                    context.per_query, parts["seed"],
                )  # fmt: skip
                figures = stage_figures(trained_run)
            stages = [StageSummary.from_json(summary) for summary in result.summaries]
            training = TrainingSummary(last=stages[-1], stages=stages, counts=result.counts)
            metrics = replace(metrics, training=training, stage_figures=figures, **comparison)
            evaluation.record(metrics, context)
            store.close()
    remove_stages(path)  # the best checkpoint is kept; how it came about is in the history
    tracking.log(path)
    return path


def measure_untrained(reranker: Reranker, evaluation: Evaluation) -> PerQuery | str:
    """The values of the reranker before its training; where it cannot rank untrained, the reason."""
    test = evaluation.benchmark
    try:
        log.info("measuring the untrained reranker")
        engine = Engine(evaluation.store)
        run = engine.rerank(reranker, test.queries, evaluation.first_stage, evaluation.documents)
    except ConfigError as error:
        log.info("the untrained reranker is not measured: %s", error)
        return str(error)
    return evaluation.measures.per_query(run, test.qrels, test.threshold)


def compare_with_untrained(untrained: PerQuery | str | None, context: AnalysisContext) -> dict[str, Any]:
    """The fields of Metrics that compare the trained reranker with the untrained one, measure by measure."""
    if not isinstance(untrained, Mapping):
        return {"untrained_reason": untrained}
    after: dict[str, dict[str, float]] = {name: {} for name in untrained}
    for values in context.per_query:
        after[values.measure][values.query] = values.reranked
    found = {name: compare(before, after[name], context.seed, sum) for name, before in untrained.items()}
    return {"untrained": found}


def _processes(path: Path | None, name: str) -> tuple[bool, Path]:
    """Whether this is the first process, and the run folder, which the first one chooses for all."""
    chosen = [path or default_run_dir(Path("runs"), name, datetime.now())]
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return True, chosen[0]
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=timedelta(days=1))
    broadcast_object_list(chosen)
    return bool(state.is_main_process), chosen[0]


def _wait_for_all() -> None:
    """Until every process is here: none may see a checkpoint that the first one is about to remove."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from accelerate import PartialState

        PartialState().wait_for_everyone()


@dataclass(frozen=True)
class _Follower:
    """The run folder as the processes after the first see it: they write nothing."""

    path: Path
    finished: bool

    def recording(self) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()


@contextmanager
def _open(path: Path, config: Mapping[str, Any], force: bool, is_main_process: bool) -> Iterator[Any]:
    """The run folder, held by the first process; the others learn from it whether there is anything to do."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        with RunFolder(path, config, force) as folder:
            yield folder
        return
    from accelerate.utils import broadcast_object_list

    finished = [False]
    if not is_main_process:
        broadcast_object_list(finished)
        yield _Follower(path, finished[0])
        return
    with RunFolder(path, config, force) as folder:
        broadcast_object_list([folder.finished])
        yield folder
