"""The unit of training: one query with its labelled candidates, and their first-stage ranks and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rerankbench.rerankers.requests import Pointwise
from rerankbench.types import Candidate, Document, Query

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Group:
    """One query with N candidates, shuffled: a positive is not always first.

    labels: grades, ≥ 0. judged: whether a person judged the document; an unjudged one counts as a negative.
    ranks: in the first-stage list, from 1; 0 for a document outside it. scores: its first-stage scores; 0.0 outside.
    teacher: another model's scores. first_stage: the scores of the query's whole first-stage list, best first, which
    curricula need. positives: ids of all relevant documents of the query, in the group or not, which never count as
    negatives. source: the training set it came from.
    """

    query: Query
    documents: tuple[Document, ...]
    labels: tuple[float, ...]
    judged: tuple[bool, ...]
    ranks: tuple[int, ...]
    scores: tuple[float, ...]
    teacher: tuple[float, ...] | None = None
    first_stage: tuple[float, ...] = ()
    positives: frozenset[str] = frozenset()
    source: str = ""


class Groups(Protocol):
    """A training set: the same number of groups each epoch, negatives redrawn."""

    def __len__(self) -> int:
        """Groups in an epoch."""
        ...

    def group(self, epoch: int, index: int) -> Group:
        """A pure function of seed, epoch (from 0) and index (< len), in whatever process or order it is called."""
        ...

    @property
    def counts(self) -> dict[str, int]:
        """What was dropped, missing or assumed, under readable names."""
        ...


@dataclass(frozen=True)
class Batch:
    """Groups of one step as tensors, padded on the right; padded cells hold zeros and mask False.

    labels, first_scores: [B, N] float32. mask: [B, N] bool, True for a real candidate. ranks: [B, N] int64.
    teacher: [B, N] float32 or None.
    """

    groups: tuple[Group, ...]
    labels: torch.Tensor
    mask: torch.Tensor
    ranks: torch.Tensor
    first_scores: torch.Tensor
    teacher: torch.Tensor | None = None


def batch_of(groups: Sequence[Group], device: torch.device | str = "cpu") -> Batch:
    """The batch of these groups. It has teacher scores only if every group has them."""
    import torch

    width = max(len(group.documents) for group in groups)

    def padded(rows: Sequence[tuple[float, ...]], dtype: torch.dtype) -> torch.Tensor:
        return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=dtype, device=device)

    sizes = torch.tensor([len(group.documents) for group in groups], device=device)
    teacher = [group.teacher for group in groups if group.teacher is not None]
    return Batch(
        groups=tuple(groups),
        labels=padded([group.labels for group in groups], torch.float32),
        mask=torch.arange(width, device=device)[None, :] < sizes[:, None],
        ranks=padded([group.ranks for group in groups], torch.int64),
        first_scores=padded([group.scores for group in groups], torch.float32),
        teacher=padded(teacher, torch.float32) if len(teacher) == len(groups) else None,
    )


def requests_of(groups: Sequence[Group]) -> list[Pointwise]:
    """A request for each candidate of each group, in order."""
    return [
        Pointwise(group.query, Candidate(document, max(rank - 1, 0), score))
        for group in groups
        for document, rank, score in zip(group.documents, group.ranks, group.scores, strict=True)
    ]


def in_rows(groups: Sequence[Group], scores: torch.Tensor, width: int) -> torch.Tensor:
    """The scores [N] of all candidates, group after group, as rows [B, width], padding 0."""
    import torch

    rows = torch.split(scores, [len(group.documents) for group in groups])
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])
