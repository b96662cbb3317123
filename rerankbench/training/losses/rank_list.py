"""RankNet generalised to lists: neighbours first, then pairs further apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.training.losses.loss import Reduction, Unit, require_positive
from rerankbench.training.losses.masking import differences, has_levels, logsumexp, ordered_pairs, prepared

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class RankList:
    """RankNet between a candidate and those up to K levels of label below it. scores, labels, mask: [B, N] -> [B].

    K, the skips, grows linearly from 1 (local) to max_skip in the first half of the training. skip_weight: of pairs
    more than one level apart. form: `sum` of log(1 + e^(s_b - s_a)) over pairs, or `lse`, log(1 + Σ_b e^(s_b - s_a))
    per upper candidate a, which with all skips and no ties is ListMLE; both over the number of terms. With two
    candidates it is RankNet. After the abstract of RankList; the equations are ours.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    max_skip: int = 3
    skip_weight: float = 1.0
    form: Literal["sum", "lse"] = "sum"

    def __post_init__(self) -> None:
        if self.max_skip < 1:
            raise ConfigError("max_skip", f"must be ≥ 1, got {self.max_skip}")
        require_positive("skip_weight", self.skip_weight)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        import torch
        from torch.nn.functional import logsigmoid

        scores = prepared(scores, mask)
        skip = -differences(levels(labels, mask))  # levels from the row down to the column
        reach = 1 + int((self.max_skip - 1) * min(1.0, 2 * progress))
        pairs = ordered_pairs(labels, mask) & (skip <= reach)
        gaps = differences(scores)
        weights = torch.where(skip > 1, self.skip_weight, 1.0).to(scores.dtype)
        if self.form == "sum":
            total, terms = (weights * -logsigmoid(gaps)).masked_fill(~pairs, 0).sum((1, 2)), pairs.sum((1, 2))
        else:
            upper = pairs.any(2)
            # log(1 + Σ e^x) = softplus(log Σ e^x)
            per_upper = -logsigmoid(-logsumexp(weights.log() - gaps, pairs))
            total, terms = per_upper.masked_fill(~upper, 0).sum(1), upper.sum(1)
        return (total / terms.clamp(min=1)).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return has_levels(labels, mask)


def levels(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """How many different labels of the list lie above each candidate's: [B, N] -> [B, N] int64."""
    same = (labels[:, :, None] == labels[:, None, :]) & mask[:, None, :]
    # Each label is counted once, at the first candidate that has it.
    first = mask & (same.cumsum(2).diagonal(dim1=1, dim2=2) == 1)
    return ((labels[:, None, :] > labels[:, :, None]) & first[:, None, :]).sum(2)
