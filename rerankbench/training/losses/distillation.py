"""Losses against a teacher's scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from rerankbench.training.losses.loss import Reduction, Unit, require_positive, require_teacher
from rerankbench.training.losses.masking import (
    average_ranks,
    differences,
    log_softmax,
    ordered_pairs,
    prepared,
    soft_ranks,
    two_real,
)

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class MarginMSE:
    """Squared difference of the gaps, ((s_i - s_j) - (t_i - t_j))². scores, labels, mask, teacher: [B, N] -> [B, N, N].

    pairs: those whose labels differ, or `all` twos, which needs no labels. Hofstätter et al., arXiv 2010.02666.
    """

    unit: ClassVar[Unit] = "pair"
    pairs: Literal["labels", "all"] = "labels"
    reduction: Literal["per_list", "global"] = "per_list"

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        errors = prepared(scores, mask) - prepared(require_teacher(teacher), mask)
        return (differences(errors) ** 2).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return two_real(mask) if self.pairs == "all" else ordered_pairs(labels, mask)


@dataclass(frozen=True, kw_only=True)
class KL:
    """T²·KL(softmax(teacher/T) ‖ softmax(scores/T)). scores, mask, teacher: [B, N] -> [B].

    T² keeps the gradient's size as the temperature T grows. Hinton et al., arXiv 1503.02531.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        aim = log_softmax(prepared(require_teacher(teacher), mask) / self.temperature, mask)
        own = log_softmax(prepared(scores, mask) / self.temperature, mask)
        return self.temperature**2 * _divergence(aim, own).masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return mask.sum(1) > 1


@dataclass(frozen=True, kw_only=True)
class SymmetricKL:
    """½·(KL(P ‖ Q) + KL(Q ‖ P)), P the softmax of the scores, Q that of the teacher, each at its own temperature.

    scores, mask, teacher: [B, N] -> [B]. At 0.02 a teacher in [0, 1] is nearly one-hot. UniME-V2, arXiv 2510.13515.
    """

    unit: ClassVar[Unit] = "list"
    reduction: ClassVar[Reduction] = "per_list"
    temperature: float = 0.02
    teacher_temperature: float = 0.02

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)
        require_positive("teacher_temperature", self.teacher_temperature)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        aim = log_softmax(prepared(require_teacher(teacher), mask) / self.teacher_temperature, mask)
        own = log_softmax(prepared(scores, mask) / self.temperature, mask)
        both = (_divergence(own, aim) + _divergence(aim, own)) / 2
        return both.masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return mask.sum(1) > 1


@dataclass(frozen=True, kw_only=True)
class ApproxDiscountedRankMSE:
    """(r_i - r̂_i)² / log2(1 + r_i): r the teacher's ranks (ties at their mean), r̂ smooth ranks of the scores.

    scores, mask, teacher: [B, N] -> [B, N]. temperature: of the smooth ranks. Rank-DistiLLM, arXiv 2405.07920.
    """

    unit: ClassVar[Unit] = "item"
    temperature: float = 1.0
    reduction: Literal["per_list", "global"] = "per_list"

    def __post_init__(self) -> None:
        require_positive("temperature", self.temperature)

    def __call__(
        self,
        scores: torch.Tensor,
        labels: torch.Tensor,
        mask: torch.Tensor,
        *,
        teacher: torch.Tensor | None = None,
        progress: float = 1.0,
    ) -> torch.Tensor:
        scores = prepared(scores, mask)
        aim = average_ranks(prepared(require_teacher(teacher), mask).to(scores.dtype), mask)
        errors = (aim - soft_ranks(scores, mask, self.temperature)) ** 2 / (1 + aim).log2()
        return errors.masked_fill(~self.valid(labels, mask), 0)

    def valid(self, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return mask & (mask.sum(1, keepdim=True) > 1)


def _divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """KL(P ‖ Q) of each list from log-probabilities that are 0 in padded cells: [B, N] -> [B]."""
    return (log_p.exp() * (log_p - log_q)).sum(1)
