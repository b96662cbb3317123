"""In-batch negatives: every candidate of a step as a candidate of every query, over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed as dist

from rerankbench.training.groups import Batch, Group
from rerankbench.types import Document


def all_groups(groups: Sequence[Group]) -> tuple[list[Group], int]:
    """The groups of all processes, one process after another, and the index of this one's first."""
    if not _several_processes():
        return list(groups), 0
    gathered: list[list[Group]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(gathered, list(groups))
    return [group for part in gathered for group in part], sum(map(len, gathered[: dist.get_rank()]))


def all_vectors(vectors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The vectors ([H] or [T, H]) of all processes, one process after another; gradients flow back to each process."""
    if not _several_processes():
        return list(vectors)
    from torch.distributed.nn.functional import all_gather as gather

    all_gather: Callable[[torch.Tensor], Sequence[torch.Tensor]] = gather

    flat = vectors[0].dim() == 1
    rows = torch.cat([v[None] if flat else v for v in vectors])
    sizes: list[list[int]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(sizes, [1 if flat else len(v) for v in vectors])
    longest = max(map(sum, sizes))
    padded = torch.nn.functional.pad(rows, (0, 0, 0, longest - len(rows))).contiguous()
    gathered: list[torch.Tensor] = []
    for lengths, part in zip(sizes, all_gather(padded), strict=True):
        gathered += [v[0] if flat else v for v in torch.split(part[: sum(lengths)], lengths)]
    return gathered


def pooled(groups: Sequence[Group], everyone: Sequence[Group], start: int, device: torch.device) -> Batch:
    """`groups` as a batch [B, D] whose columns are the candidates of `everyone`, one group after another.

    start: the index of the first of `groups` in `everyone`. A document that is relevant to a query, by id or by text,
    is no negative of it: unless it is the query's own candidate it is masked, and so is the copy of a text. Labels,
    ranks and first-stage scores are known of a query's own candidates only.
    """
    starts = [0]
    for group in everyone:
        starts.append(starts[-1] + len(group.documents))
    columns: dict[tuple[str, ...], list[int]] = {}
    unique = torch.ones(starts[-1], dtype=torch.bool)
    candidates = [(group.source, document) for group in everyone for document in group.documents]
    for column, (source, document) in enumerate(candidates):
        for key in _keys(source, document):
            unique[column] &= key not in columns
            columns.setdefault(key, []).append(column)
    shape = (len(groups), starts[-1])
    labels, first_scores = torch.zeros(shape), torch.zeros(shape)
    mask, ranks = unique.repeat(len(groups), 1), torch.zeros(shape, dtype=torch.int64)
    for row, group in enumerate(groups):
        excluded: list[tuple[str, ...]] = [("id", group.source, document) for document in group.positives]
        excluded += [key for document in group.documents for key in _keys(group.source, document)]
        mask[row, [column for key in excluded for column in columns.get(key, ())]] = False
        candidates_of_group = slice(starts[start + row], starts[start + row + 1])
        mask[row, candidates_of_group] = True
        labels[row, candidates_of_group] = torch.tensor(group.labels)
        ranks[row, candidates_of_group] = torch.tensor(group.ranks)
        first_scores[row, candidates_of_group] = torch.tensor(group.scores)
    return Batch(tuple(groups), labels.to(device), mask.to(device), ranks.to(device), first_scores.to(device), None)


def _keys(source: str, document: Document) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What makes two candidates the same: the id in their training set, or the text."""
    return ("id", source, document.id), ("text", document.text)


def pool_batch(groups: Sequence[Group], device: torch.device) -> Batch:
    """The groups of this process with the candidates of all processes."""
    everyone, start = all_groups(groups)
    return pooled(groups, everyone, start, device)


def _several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
