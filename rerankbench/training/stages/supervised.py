"""A supervised stage: scores of labelled groups → loss → weighting → the parameters an adaptation leaves open."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerankbench.errors import ConfigError, UserError
from rerankbench.store import write_atomically
from rerankbench.training.adaptation.adaptation import Adaptation
from rerankbench.training.groups import Group
from rerankbench.training.languages import standing
from rerankbench.training.loop import Loop
from rerankbench.training.losses.loss import Loss
from rerankbench.training.sampling import GroupOptions
from rerankbench.training.stages.stage import Training
from rerankbench.training.weighting.weighting import Weighting
from rerankbench.types import Qrels, Run

log = logging.getLogger("rerankbench")


@dataclass(frozen=True, kw_only=True)
class Supervised:
    """Trains the reranker's network on groups of candidates; keeps the checkpoint with the best nDCG@10 on dev.

    sources: the places of the training sets it learns from, the benchmark's own being 0 where it has a weight; null
    takes all of them.
    """

    groups: GroupOptions
    loss: Loss
    weighting: Weighting | None = None
    adaptation: Adaptation | None = None
    loop: Loop = field(default_factory=Loop)
    sources: Sequence[int] | None = None

    def check(self, trainee: type) -> None:
        """See Stage."""
        if self.groups.in_batch and not hasattr(trainee, "embedded"):
            problem = "takes whole batches for negatives, which needs a network that embeds query and document apart"
            raise ConfigError("recipe.groups.in_batch", f"{problem}; recipe=cross_encoder does without")

    def run(self, training: Training, number: int) -> None:
        """See Stage."""
        import torch
        from transformers import set_seed

        from rerankbench.training.module import TrainingModule
        from rerankbench.training.trainer import DEV, GroupTrainer, arguments, last_checkpoint, load_weights, step_of

        began = time.perf_counter()
        folder = training.folder / "stages" / str(number)
        adaptation = standing(self.adaptation, folder.parent)
        set_seed(training.seed + number)
        if self.sources is not None and not {*self.sources} <= {*range(len(training.sources))}:
            raise ConfigError("recipe.stages", f"sources must be among 0 … {len(training.sources) - 1}")
        sources = [training.sources[i] for i in self.sources] if self.sources is not None else training.sources
        groups = self.groups.build(sources, training.held_out, training.store, training.seed + number, training.folder)
        log.info("stage %d: %d groups an epoch%s", number + 1, len(groups), _shown(groups.counts))
        training.trainee.network.to(training.device)
        if any(".adapters." in name for name, _ in training.trainee.network.named_parameters()):
            problem = "the network has adapters already, which more training would lose; name them in adaptation.below"
            raise ConfigError("recipe.adaptation", problem)
        if adaptation is not None:
            adaptation.apply(training.trainee.network, training.seed)
        bf16 = self.loop.in_bf16(training.bf16)
        budget = self.loop.tokens_at_once(training.device.type)
        scorer: Any = training.trainee
        weighting = self.weighting.begin() if self.weighting is not None else None
        learner = TrainingModule(scorer, self.loss, weighting, self.groups.in_batch, budget, self.loop.recompute)
        options = arguments(folder, self.loop, len(groups), training.seed + number, training.device, bf16)

        def measured(groups: Sequence[Group], qrels: Qrels) -> float:
            with torch.autocast(training.device.type, torch.bfloat16, enabled=bf16):
                return mean_ndcg(groups, learner.score(groups), qrels)

        def dev() -> float:
            return measured(training.dev, training.dev_qrels)

        def record(entry: dict[str, float]) -> None:
            training.record({"stage": number, **entry})
            if DEV in entry:
                log.info("step %d of %d: dev nDCG@10 %.4f", entry["step"], options.max_steps, entry[DEV])

        trainer = GroupTrainer(
            learner, groups, options, adaptation, dev if training.dev else None, record, self.loop.patience
        )
        done = _done(folder)
        resume = last_checkpoint(folder)
        if done is not None:
            log.info("stage %d is finished", number + 1)
        elif resume is None:
            shutil.rmtree(folder, ignore_errors=True) if training.writes else None
            training.forget(number, -1)
            trainer.measure_dev()
        else:
            step = step_of(resume)
            log.info("going on from step %d of %d", step, options.max_steps)
            training.forget(number, step)
        untrained = trainer.state.best_metric
        state = trainer.state
        if done is None:
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            state = trainer.state
        best = done["best_step"] if done else state.best_global_step or state.global_step
        trainer.accelerator.wait_for_everyone()
        if done or (training.dev and best != state.global_step):
            load_weights(learner, adaptation, folder / f"checkpoint-{best}")
        if untrained is not None and state.best_metric is not None and state.best_metric < untrained:
            log.warning("no checkpoint is better on dev than the network was before (%.4f)", untrained)
        if adaptation is not None:
            if training.writes:
                adaptation.save(training.trainee.network, folder / "added")
            adaptation.merge(training.trainee.network)
        training.trainee.network.eval()
        training.counts.update(groups.counts)
        kept = {} if done else {name: measured(own, qrels) for name, (own, qrels) in training.kept.items()}
        summary = done or (
            {
                "groups": len(groups),
                "steps": state.global_step,
                "best_step": best,
                "best_dev": state.best_metric,
                "kept": kept,
                "seconds": round(time.perf_counter() - began, 1),
                "parameters": sum(p.numel() for p in training.trainee.network.parameters()),
                "precision": "bfloat16" if bf16 else "float32",
                "groups_left_out_of_an_epoch": len(groups) - len(trainer._get_train_sampler()),
            }
        )
        training.summary.append(summary)
        if training.writes:
            write_atomically(folder / "done.json", json.dumps(summary))


def _done(folder: Path) -> dict[str, Any] | None:
    """The summary of a stage that has run to its end, and whose best checkpoint is still there."""
    from rerankbench.training.trainer import WEIGHTS

    try:
        found: dict[str, Any] = json.loads((folder / "done.json").read_text(encoding="utf-8"))
        (folder / f"checkpoint-{found['best_step']}" / WEIGHTS).stat()
    except (OSError, ValueError, KeyError):
        return None
    return found


def mean_ndcg(groups: Sequence[Group], scores: Sequence[Sequence[float]], judged: Qrels | None = None) -> float:
    """Mean nDCG@10 of the groups' candidates in the order of their scores; ties keep the first-stage order.

    judged: the judgments, also of what the first stage did not find, and of queries for which it found nothing;
    without them relevant documents that are not among the candidates have grade 1. Raises UserError for a nan.
    """
    from rerankbench.evaluation.measures import per_query

    run: Run = {}
    qrels: Qrels = dict(judged or {})
    for group, own in zip(groups, scores, strict=True):
        if any(value != value for value in own):
            raise UserError(f"the network gives no number as a score (nan), first on query {group.query.id}")
        order = sorted(range(len(own)), key=lambda i: -own[i])
        run[group.query.id] = [(group.documents[i].id, own[i]) for i in order]
        if judged is not None:
            continue
        grades = {document.id: int(label) for document, label in zip(group.documents, group.labels, strict=True)}
        qrels[group.query.id] = {**dict.fromkeys(group.positives, 1), **{d: g for d, g in grades.items() if g > 0}}
    values = per_query(["ndcg@10"], run, qrels, 1)["ndcg@10"].values()
    return sum(values) / max(len(values), 1)


def _shown(counts: dict[str, Any]) -> str:
    odd = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
    return f" ({odd})" if odd else ""
