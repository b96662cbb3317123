"""The unit of training: one query with its labelled candidates, and what the first stage thought of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rerankbench.types import Document, Query

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Group:
    """One query with N candidates, in no telling order (it is shuffled: a positive is not always first).

    labels: grades, ≥ 0. judged: whether a person judged the document; an unjudged one is taken for a negative.
    ranks: places in the first-stage list, from 1; 0 for a document outside it. scores: its first-stage scores; 0.0
    outside. teacher: another model's scores. first_stage: the scores of the query's whole first-stage list, best
    first, which curricula need. positives: ids of all relevant documents of the query, in the group or not, which
    never count as negatives. source: the training set it came from.
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
        """A pure function of seed, epoch (from 0) and index (< len), in whatever process or order it is asked."""
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


def batch_of(groups: list[Group], device: torch.device | str = "cpu") -> Batch:
    """The batch of these groups. Teacher scores are there only if every group has them."""
    import torch

    width = max(len(group.documents) for group in groups)

    def padded(rows: list[tuple[float, ...]], dtype: torch.dtype) -> torch.Tensor:
        filled = [list(row) + [0] * (width - len(row)) for row in rows]
        return torch.tensor(filled, dtype=dtype, device=device)

    sizes = torch.tensor([len(group.documents) for group in groups], device=device)
    taught = [group.teacher for group in groups if group.teacher is not None]
    return Batch(
        groups=tuple(groups),
        labels=padded([group.labels for group in groups], torch.float32),
        mask=torch.arange(width, device=device)[None, :] < sizes[:, None],
        ranks=padded([group.ranks for group in groups], torch.int64),
        first_scores=padded([group.scores for group in groups], torch.float32),
        teacher=padded(taught, torch.float32) if len(taught) == len(groups) else None,
    )
