"""A stage of a training: what all kinds share, from resuming to the record. A kind of stage makes its trainer."""

from __future__ import annotations

import json
import logging
import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError, key_of
from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.records import QueryValues
from rerankbench.rerankers.trainable import TrainableScorer
from rerankbench.store import Store, write_atomically
from rerankbench.training.adaptation.adaptation import Adaptation, AppliedAdaptation
from rerankbench.training.groups import Group
from rerankbench.training.languages import with_stage_adapters
from rerankbench.training.loop import Loop
from rerankbench.training.sources import TrainingData
from rerankbench.types import Document, Qrels, Run

if TYPE_CHECKING:
    import torch

    from rerankbench.training.trainer import StageHooks, StageTrainerMixin

log = logging.getLogger("rerankbench")

Measure = Callable[[Sequence[Group], Qrels], float]
"""nDCG@10 of the network on queries with their candidates, by the judgments."""


@dataclass(kw_only=True)
class TrainingContext:
    """One training as its stages see it. A stage trains the scorer's network in place.

    names: of all stages, in order. folder: that of the run; a stage keeps its checkpoints in `folder/stages/<name>`.
    device: where the network runs. bf16: whether the hardware is faster with it. record: takes a line for the history.
    truncate_history: cuts the history of a stage (index) after a step: the training resumes there. is_main_process:
    whether this process is the one that writes.
    """

    scorer: TrainableScorer
    data: TrainingData
    names: Sequence[str]
    store: Store
    folder: Path
    seed: int
    device: torch.device
    bf16: bool
    record: Callable[[dict[str, Any]], None] = lambda line: None
    truncate_history: Callable[[int, int], None] = lambda stage, step: None
    is_main_process: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    summaries: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class PreparedStage:
    """A stage ready to train. measure: None for a stage without a dev measure. figures: for the summary."""

    trainer: StageTrainerMixin
    measure: Measure | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def adaptation(self) -> AppliedAdaptation:
        """The applied adaptation."""
        return self.trainer.hooks.adaptation

    def save(self, folder: Path) -> None:
        """Write to `folder` what becomes part of the run's checkpoint besides the network; called before `finish`."""
        self.adaptation.save(folder)

    def finish(self) -> None:
        """Leave the network as the next stage, or the checkpoint, gets it."""
        self.adaptation.merge()
        self.adaptation.network.eval()


@dataclass(frozen=True)
class TrainedRun:
    """A training's run after its evaluation. per_query: the measures' values, reranked by the trained reranker."""

    folder: Path
    stages: Mapping[str, Stage]
    test: Benchmark
    first_stage: Run
    documents: Mapping[str, Document]
    store: Store
    measures: Measures
    per_query: Sequence[QueryValues]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Stage(ABC):
    """A configured stage.

    adaptation: which parameters are trained, and how; null trains all.
    """

    adaptation: Adaptation | None = None
    loop: Loop = field(default_factory=Loop)

    changes_network: ClassVar[bool] = True
    """Whether the network is another one afterwards; else a finished stage has nothing to load."""

    def check(self, scorer: TrainableScorer) -> None:  # noqa: B027 (most can train any)
        """Raises ConfigError for a scorer whose network the stage cannot train."""

    @abstractmethod
    def prepare(self, context: TrainingContext, name: str) -> PreparedStage:
        """Apply the adaptation and make the trainer; the scorer's network is on the device, torch's seed is set."""

    def evaluate(self, name: str, run: TrainedRun) -> dict[str, Any]:
        """Figures that the stage adds to `metrics.json`, after the trained reranker was measured."""
        return {}

    def run(self, context: TrainingContext, name: str) -> None:
        """Train the network in place and append the summary; a killed stage resumes at its last checkpoint."""
        from transformers import set_seed

        began = time.perf_counter()
        folder = context.folder / "stages" / name
        summary = _summary(folder)
        if summary is None or self.changes_network:
            set_seed(context.seed + context.names.index(name))
            context.scorer.module.to(context.device)
            stage = self.prepare(context, name)
            best_step = self._train(stage, context, name, summary)
            if context.is_main_process:
                stage.save(folder / "added")
            stage.trainer.accelerator.wait_for_everyone()
            stage.finish()
            summary = summary or {
                **stage.figures,
                "steps": stage.trainer.state.global_step,
                **(self._dev_figures(stage, context, best_step) if self.changes_network else {}),
                "seconds": round(time.perf_counter() - began, 1),
                "precision": "bfloat16" if self.loop.in_bf16(context.bf16) else "float32",
            }
        context.summaries.append(summary)
        if context.is_main_process:
            write_atomically(folder / "done.json", json.dumps(summary))

    def adapt(self, network: torch.nn.Module, context: TrainingContext) -> AppliedAdaptation:
        """The adaptation, applied to the network; its base adapters may be those of earlier stages, by name."""
        if any(".adapters." in name for name, _ in network.named_parameters()):
            problem = "the network has adapters already, which more training would lose; name them as its base_adapters"
            raise ConfigError(key_of(self, "adaptation"), problem)
        if self.adaptation is None:
            return AppliedAdaptation(network)
        return with_stage_adapters(self.adaptation, context.folder / "stages").apply(network, context.seed)

    def hooks(
        self, adaptation: AppliedAdaptation, context: TrainingContext, name: str, measure: Measure | None = None
    ) -> StageHooks:
        """What the stage adds to its trainer. measure: how the network is measured on the dev queries."""
        from rerankbench.training.trainer import StageHooks

        number, data = context.names.index(name), context.data

        def record(line: dict[str, float]) -> None:
            context.record({"stage": number, **line})

        dev = None if measure is None or not data.dev else lambda: measure(data.dev, data.dev_qrels)
        return StageHooks(adaptation, record, dev, self.loop.patience)

    def _train(
        self, stage: PreparedStage, context: TrainingContext, name: str, summary: Mapping[str, Any] | None
    ) -> int:
        """Train to the end, unless a summary says that this was done; load the best checkpoint and return its step."""
        from rerankbench.training.trainer import last_checkpoint, load_weights, step_of

        trainer, number, folder = stage.trainer, context.names.index(name), context.folder / "stages" / name
        if summary is not None:
            log.info("stage %s is finished", name)
            load_weights(trainer.module, stage.adaptation, folder / f"checkpoint-{summary['best_step']}")
            return int(summary["best_step"])
        resume = last_checkpoint(folder)
        if resume is None:
            if context.is_main_process:
                shutil.rmtree(folder, ignore_errors=True)
            context.truncate_history(number, -1)
            trainer.measure_dev()
        else:
            log.info("resuming from step %d of %d", step_of(resume), trainer.args.max_steps)
            context.truncate_history(number, step_of(resume))
        untrained = trainer.state.best_metric
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        state = trainer.state
        best: int = state.best_global_step or state.global_step
        trainer.accelerator.wait_for_everyone()
        if best != state.global_step:
            load_weights(trainer.module, stage.adaptation, folder / f"checkpoint-{best}")
        if untrained is not None and state.best_metric is not None and state.best_metric < untrained:
            log.warning("no checkpoint is better on dev than the network was before (%.4f)", untrained)
        return best

    def _dev_figures(self, stage: PreparedStage, context: TrainingContext, best_step: int) -> dict[str, Any]:
        retention = context.data.retention_sets.items()
        return {
            "best_step": best_step,
            "best_dev": stage.trainer.state.best_metric,
            "kept": {name: stage.measure(groups, qrels) for name, (groups, qrels) in retention if stage.measure},
            "parameters": sum(p.numel() for p in context.scorer.module.parameters()),
        }


def _summary(folder: Path) -> dict[str, Any] | None:
    """The summary of a stage that is finished, and whose best checkpoint, where it has one, is still there."""
    from rerankbench.training.trainer import WEIGHTS

    try:
        summary: dict[str, Any] = json.loads((folder / "done.json").read_text(encoding="utf-8"))
        if "best_step" in summary:
            (folder / f"checkpoint-{summary['best_step']}" / WEIGHTS).stat()
    except (OSError, ValueError, KeyError):
        return None
    return summary
