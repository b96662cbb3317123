"""RankNet generalised to lists: neighbours first, then pairs further apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Ge, Gt

from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.masking import differences, logsumexp, ordered_pairs
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class RankList(Loss):
    """RankNet between a candidate and those up to K levels of label below it, for each list.

    K, the skips, grows linearly from 1 (local) to max_skip in the first half of the training. skip_weight: of pairs
    more than one level apart. form: `sum` of log(1 + e^(s_b - s_a)) over pairs, or `lse`, log(1 + Σ_b e^(s_b - s_a))
    per upper candidate a, which with all skips and no ties is ListMLE; both over the number of terms. With two
    candidates it is RankNet. After the abstract of RankList; the equations are ours.
    """

    unit: ClassVar[Unit] = "list"
    max_skip: Annotated[int, Ge(1)] = 3
    skip_weight: Annotated[float, Gt(0)] = 1.0
    form: Literal["sum", "lse"] = "sum"

    def values(self, scored: Scored) -> torch.Tensor:
        import torch
        from torch.nn.functional import logsigmoid

        skip = -differences(levels(scored.labels, scored.mask))  # levels from the row down to the column
        reach = 1 + int((self.max_skip - 1) * min(1.0, 2 * scored.progress))
        pairs = ordered_pairs(scored.labels, scored.mask) & (skip <= reach)
        gaps = differences(scored.scores)
        weights = torch.where(skip > 1, self.skip_weight, 1.0).to(gaps.dtype)
        if self.form == "sum":
            total, terms = (weights * -logsigmoid(gaps)).masked_fill(~pairs, 0).sum((1, 2)), pairs.sum((1, 2))
        else:
            upper = pairs.any(2)
            # log(1 + Σ e^x) = softplus(log Σ e^x)
            per_upper = -logsigmoid(-logsumexp(weights.log() - gaps, pairs))
            total, terms = per_upper.masked_fill(~upper, 0).sum(1), upper.sum(1)
        return total / terms.clamp(min=1)


def levels(labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The number of different labels of the list above each candidate's: [B, N] -> [B, N] int64."""
    same = (labels[:, :, None] == labels[:, None, :]) & mask[:, None, :]
    # Each label is counted once, at the first candidate that has it.
    first = mask & (same.cumsum(2).diagonal(dim1=1, dim2=2) == 1)
    return ((labels[:, None, :] > labels[:, :, None]) & first[:, None, :]).sum(2)
