"""How easily the first stage finds a document: its place in the query's first-stage list as a number in [0, 1]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

    from rerankbench.training.groups import Batch

Measure = Literal["reciprank", "normscore", "kde"]

ABSENT_RANK = 1000
"""The rank that a document outside the first-stage list is taken to have."""


def ease(batch: Batch, measure: Measure) -> torch.Tensor:
    """1 = found first, 0 = hardly found; [B, N] float32, padding 0.

    reciprank: 1/rank. normscore: the score between the list's lowest and highest. kde: the share of a Gaussian kernel
    density of the list's scores (Scott's bandwidth) that lies below it. MacAvaney et al., SIGIR 2020, arXiv 2004.14269.
    """
    import torch

    ranks, scores = batch.ranks.cpu(), batch.first_scores.cpu().double()
    if measure == "reciprank":
        eased = 1 / ranks.masked_fill(ranks == 0, ABSENT_RANK).double()
    else:
        runs = [group.first_stage for group in batch.groups]
        eased = torch.stack([_of_scores(*row, measure) for row in zip(ranks, scores, runs, strict=True)])
    return eased.float().to(batch.mask.device).masked_fill(~batch.mask, 0)


def _of_scores(ranks: torch.Tensor, scores: torch.Tensor, run: tuple[float, ...], measure: Measure) -> torch.Tensor:
    import torch

    if not run or min(run) == max(run):
        return torch.full_like(scores, 0.5)  # a list that tells nothing apart
    low, high = min(run), max(run)
    # A document outside the list scores no higher than its end, whatever sign the scores have.
    scores = torch.where(ranks > 0, scores, scores.clamp(max=low))
    if measure == "normscore":
        return ((scores - low) / (high - low)).clamp(0, 1)
    points = torch.tensor(run, dtype=scores.dtype)
    bandwidth = len(run) ** -0.2 * points.std()
    below: torch.Tensor = torch.special.ndtr((scores[:, None] - points) / bandwidth)
    return below.mean(1)
