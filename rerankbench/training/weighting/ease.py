"""How easily the first stage finds a document: its position in the query's first-stage list as a number in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch

Measure = Literal["reciprank", "normscore", "kde"]

MISSING_RANK = 1000
"""The rank assumed of a document outside the first-stage list."""


def ease(batch: Batch, measure: Measure) -> torch.Tensor:
    """1 = found first, 0 = hardly found; [B, N] float32, padding 0.

    reciprank: 1/rank. normscore: the score between the list's lowest and highest. kde: the share of a Gaussian kernel
    density of the list's scores (Scott's bandwidth) that lies below it. MacAvaney et al., SIGIR 2020, arXiv 2004.14269.
    """
    import torch

    ranks, scores = batch.ranks.cpu(), batch.first_scores.cpu().double()
    if measure == "reciprank":
        eased = 1 / ranks.masked_fill(ranks == 0, MISSING_RANK).double()
    else:
        lists = [group.first_stage for group in batch.groups]
        eased = torch.stack([_from_scores(*row, measure) for row in zip(ranks, scores, lists, strict=True)])
    return eased.float().to(batch.mask.device).masked_fill(~batch.mask, 0)


def _from_scores(
    ranks: torch.Tensor, scores: torch.Tensor, first_stage: tuple[float, ...], measure: Measure
) -> torch.Tensor:
    import torch

    if not first_stage or min(first_stage) == max(first_stage):
        return torch.full_like(scores, 0.5)  # a list whose scores do not differ
    low, high = min(first_stage), max(first_stage)
    # A document outside the list scores no higher than its end, whatever sign the scores have.
    scores = torch.where(ranks > 0, scores, scores.clamp(max=low))
    if measure == "normscore":
        return ((scores - low) / (high - low)).clamp(0, 1)
    points = torch.tensor(first_stage, dtype=scores.dtype)
    bandwidth = len(first_stage) ** -0.2 * points.std()
    below: torch.Tensor = torch.special.ndtr((scores[:, None] - points) / bandwidth)
    return below.mean(1)
