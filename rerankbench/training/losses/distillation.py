"""Losses against a teacher's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from annotated_types import Gt

from rerankbench.training.losses.loss import Loss, require_teacher
from rerankbench.training.losses.masking import (
    average_ranks,
    differences,
    distinct_pairs,
    log_softmax,
    ordered_pairs,
    soft_ranks,
)
from rerankbench.training.scored import Scored, Unit

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class MarginMSE(Loss):
    """Squared difference of the gaps of a pair, ((s_i - s_j) - (t_i - t_j))².

    pairs: those whose labels differ, or `all`, which needs no labels. Hofstätter et al., arXiv 2010.02666.
    """

    unit: ClassVar[Unit] = "pair"
    pairs: Literal["labels", "all"] = "labels"
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        return differences(scored.scores - require_teacher(self, scored)) ** 2

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The pairs chosen."""
        return distinct_pairs(mask) if self.pairs == "all" else ordered_pairs(labels, mask)


@dataclass(frozen=True, kw_only=True)
class KL(Loss):
    """T²·KL(softmax(teacher/T) ‖ softmax(scores/T)) of each list.

    T² keeps the gradient's size as the temperature T grows. Hinton et al., arXiv 1503.02531.
    """

    unit: ClassVar[Unit] = "list"
    temperature: Annotated[float, Gt(0)] = 1.0

    def values(self, scored: Scored) -> torch.Tensor:
        target = log_softmax(require_teacher(self, scored) / self.temperature, scored.mask)
        student = log_softmax(scored.scores / self.temperature, scored.mask)
        return self.temperature**2 * _divergence(target, student)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Lists of two candidates or more."""
        return mask.sum(1) > 1


@dataclass(frozen=True, kw_only=True)
class SymmetricKL(Loss):
    """½·(KL(P ‖ Q) + KL(Q ‖ P)) of each list, P the softmax of the scores, Q that of the teacher's.

    Each has a temperature of its own. At 0.02 a teacher in [0, 1] is nearly one-hot. UniME-V2, arXiv 2510.13515.
    """

    unit: ClassVar[Unit] = "list"
    temperature: Annotated[float, Gt(0)] = 0.02
    teacher_temperature: Annotated[float, Gt(0)] = 0.02

    def values(self, scored: Scored) -> torch.Tensor:
        target = log_softmax(require_teacher(self, scored) / self.teacher_temperature, scored.mask)
        student = log_softmax(scored.scores / self.temperature, scored.mask)
        return (_divergence(student, target) + _divergence(target, student)) / 2

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Lists of two candidates or more."""
        return mask.sum(1) > 1


@dataclass(frozen=True, kw_only=True)
class ApproxDiscountedRankMSE(Loss):
    """(r_i - r̂_i)² / log2(1 + r_i): r the teacher's ranks (ties at their mean), r̂ smooth ranks of the scores.

    temperature: of the smooth ranks. Rank-DistiLLM, arXiv 2405.07920.
    """

    unit: ClassVar[Unit] = "item"
    temperature: Annotated[float, Gt(0)] = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

    def values(self, scored: Scored) -> torch.Tensor:
        target = average_ranks(require_teacher(self, scored).to(scored.scores.dtype), scored.mask)
        return (target - soft_ranks(scored.scores, scored.mask, self.temperature)) ** 2 / (1 + target).log2()

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The candidates of lists of two or more."""
        return mask & (mask.sum(1, keepdim=True) > 1)


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """KL(P ‖ Q) of each list from log-probabilities that are 0 in padded cells: [B, N] -> [B]."""
    return (log_p.exp() * (log_p - log_q)).sum(1)
