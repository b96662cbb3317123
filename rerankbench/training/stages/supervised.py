"""A supervised stage: scores of labelled groups → loss → weighting → the parameters an adaptation leaves open."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from rerankbench.errors import ConfigError, UserError, key_of
from rerankbench.rerankers.trainable import EmbeddingScorer, TrainableScorer
from rerankbench.training.groups import Group
from rerankbench.training.losses.loss import Loss
from rerankbench.training.sampling import GroupOptions
from rerankbench.training.stages.stage import PreparedStage, Stage, TrainingContext
from rerankbench.training.weighting.weighting import Weighting
from rerankbench.types import Qrels, Run

log = logging.getLogger("rerankbench")


@dataclass(frozen=True, kw_only=True)
class Supervised(Stage):
    """Trains the reranker's network on groups of candidates; keeps the checkpoint with the best nDCG@10 on dev.

    sources: indices of the training sets it learns from, the benchmark's own being 0 where it has a weight; null takes
    all of them.
    """

    groups: GroupOptions
    loss: Loss
    weighting: Weighting | None = None
    sources: Sequence[Annotated[int, Ge(0)]] | None = None

    def check(self, scorer: TrainableScorer) -> None:
        """See Stage."""
        if self.groups.in_batch and not isinstance(scorer, EmbeddingScorer):
            problem = "takes whole batches for negatives, which needs a network that embeds query and document apart"
            raise ConfigError(key_of(self.groups, "in_batch"), f"{problem}; recipe=cross_encoder does without")

    def prepare(self, context: TrainingContext, name: str) -> PreparedStage:
        """See Stage."""
        import torch

        from rerankbench.training.module import TrainingModule
        from rerankbench.training.trainer import GroupTrainer, arguments

        data, seed = context.data, context.seed + context.names.index(name)
        if self.sources is not None and not {*self.sources} <= {*range(len(data.sources))}:
            raise ConfigError(key_of(self, "sources"), f"must be among 0 … {len(data.sources) - 1}")
        sources = [data.sources[i] for i in self.sources] if self.sources is not None else data.sources
        groups = self.groups.build(sources, data.held_out, context.store, seed, context.folder)
        context.counts.update(groups.counts)
        log.info("stage %s: %d groups an epoch%s", name, len(groups), _shown(groups.counts))

        adaptation = self.adapt(context.scorer.module, context)
        weighting = self.weighting.begin() if self.weighting is not None else None
        device, loop, bf16 = context.device, self.loop, self.loop.in_bf16(context.bf16)
        module = TrainingModule(
            context.scorer,
            self.loss,
            weighting,
            self.groups.in_batch,
            loop.microbatch_tokens(device.type),
            loop.activation_checkpointing,
        )

        def measure(groups: Sequence[Group], qrels: Qrels) -> float:
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                return mean_ndcg(groups, module.score(groups), qrels)

        options = arguments(context.folder / "stages" / name, loop, len(groups), seed, device, bf16)
        trainer = GroupTrainer(module, groups, options, self.hooks(adaptation, context, name, measure))
        left_out = len(groups) - len(trainer._get_train_sampler())
        return PreparedStage(trainer, measure, {"groups": len(groups), "groups_left_out_of_an_epoch": left_out})


def mean_ndcg(groups: Sequence[Group], scores: Sequence[Sequence[float]], judged: Qrels | None = None) -> float:
    """Mean nDCG@10 of the groups' candidates in the order of their scores; ties keep the first-stage order.

    judged: the judgments, also of what the first stage did not find, and of queries for which it found nothing;
    without them relevant documents that are not among the candidates have grade 1. Raises UserError for a nan.
    """
    from rerankbench.evaluation.measures import per_query

    run: Run = {}
    qrels: Qrels = dict(judged or {})
    for group, row in zip(groups, scores, strict=True):
        if any(value != value for value in row):
            raise UserError(f"the network gives no number as a score (nan), first on query {group.query.id}")
        order = sorted(range(len(row)), key=lambda i: -row[i])
        run[group.query.id] = [(group.documents[i].id, row[i]) for i in order]
        if judged is not None:
            continue
        grades = {document.id: int(label) for document, label in zip(group.documents, group.labels, strict=True)}
        qrels[group.query.id] = {**dict.fromkeys(group.positives, 1), **{d: g for d, g in grades.items() if g > 0}}
    values = per_query(["ndcg@10"], run, qrels, 1)["ndcg@10"].values()
    return sum(values) / max(len(values), 1)


def _shown(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
    return f" ({shown})" if shown else ""
