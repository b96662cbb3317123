"""Small groups for the tests of weightings, and losses of each unit written out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from rerankbench.training.groups import Batch, Group
from rerankbench.training.scored import Scored, Unit, Values
from rerankbench.types import Document, Query

RUN = (10.0, 8.0, 5.0, 5.0, 2.0)


def group(
    labels: Sequence[float],
    ranks: Sequence[int],
    first_stage: Sequence[float] = RUN,
    scores: Sequence[float] | None = None,
    judged: Sequence[bool] | None = None,
) -> Group:
    """A group of documents at these ranks (from 1, 0 = outside) of a first-stage list; only positives are judged."""
    return Group(
        query=Query("q", "a query"),
        documents=tuple(Document(f"d{i}", "word " * (i + 1)) for i in range(len(labels))),
        labels=tuple(labels),
        judged=tuple(judged or [label > 0 for label in labels]),
        ranks=tuple(ranks),
        scores=tuple(scores or [first_stage[rank - 1] if rank else 0.0 for rank in ranks]),
        first_stage=tuple(first_stage),
    )


def pooled(batch: Batch) -> Batch:
    """The batch with every candidate as a column of every query [B, D]; only its own are known to a query."""
    sizes = [len(group.documents) for group in batch.groups]
    known = (batch.labels, batch.ranks, batch.first_scores)
    spread = [torch.zeros(len(sizes), sum(sizes), dtype=own.dtype) for own in known]
    for row, size in enumerate(sizes):
        start = sum(sizes[:row])
        for wide, own in zip(spread, known, strict=True):
            wide[row, start : start + size] = own[row, :size]
    labels, ranks, first_scores = spread
    mask = torch.ones(labels.shape, dtype=torch.bool)
    return replace(batch, labels=labels, mask=mask, ranks=ranks, first_scores=first_scores)


def scored(batch: Batch, scores: torch.Tensor, progress: float = 1.0) -> Scored:
    """The batch with these scores, as the training module shows it to a weighting."""
    return Scored(scores, batch.labels, batch.mask, batch.teacher, progress, None, batch).detached()


def losses(batch: Batch, scores: torch.Tensor, unit: Unit) -> Values:
    """Cross-entropy (item), RankNet (pair) or softmax cross-entropy (list), without gradients."""
    scores = scores.detach()
    mask, labels = batch.mask, batch.labels
    if unit == "item":
        return Values(binary_cross_entropy_with_logits(scores, labels, reduction="none"), mask)
    if unit == "pair":
        valid = (labels[:, :, None] > labels[:, None, :]) & mask[:, :, None] & mask[:, None, :]
        return Values(softplus(scores[:, None, :] - scores[:, :, None]), valid)
    shares = labels / labels.sum(1, keepdim=True).clamp(min=1)
    logs = scores.masked_fill(~mask, -torch.inf).log_softmax(1).masked_fill(~mask, 0)
    return Values(-(shares * logs).sum(1), labels.sum(1) > 0)
