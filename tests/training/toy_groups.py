"""Groups of random texts, and what training asks of a scorer, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rerankbench.batching import token_batches
from rerankbench.training.groups import Group, requests_of
from rerankbench.types import Document, Query
from tests.models.toy_model import texts


def groups(*sizes: int, seed: int = 0) -> list[Group]:
    """A group of each size; its first document is relevant, and its last one's text is in every group."""
    made = []
    for row, (size, text) in enumerate(zip(sizes, texts(seed + 99, len(sizes), 3), strict=True)):
        documents = [f"dog {text}" for text in texts(seed + row, size, 16)]
        documents[-1] = "the same text in every group ."
        made.append(
            Group(
                query=Query(f"q{row}", f"cat {text}"),
                documents=tuple(Document(f"d{row}-{i}", text) for i, text in enumerate(documents)),
                labels=tuple(float(i == 0) for i in range(size)),
                judged=(True,) * size,
                ranks=tuple(range(1, size + 1)),
                scores=(0.0,) * size,
            )
        )
    return made


def outputs(scorer: Any, batch: Sequence[Group], budget: int = 10**6) -> list[torch.Tensor]:
    """The network's output for each input, read in batches under a budget of tokens."""
    items = scorer.inputs(requests_of(batch))
    computed: list[torch.Tensor] = [torch.empty(0)] * len(items)
    for indices in token_batches([scorer.length(item) for item in items], budget):
        for index, output in zip(indices, scorer.forward([items[i] for i in indices]), strict=True):
            computed[index] = output
    return computed


def scores(scorer: Any, batch: Sequence[Group], budget: int = 10**6) -> list[list[float]]:
    """The scores of each group's candidates."""
    flat_scores = scorer.scores(requests_of(batch), outputs(scorer, batch, budget))
    return [row.tolist() for row in torch.split(flat_scores, [len(group.documents) for group in batch])]


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    """All scores, group after group."""
    return [score for row in rows for score in row]


def moved(scorer: Any, batch: Sequence[Group], rate: float = 0.05) -> set[str]:
    """Take one step of gradient descent; the parameters that have a gradient other than 0."""
    names = {id(parameter): name for name, parameter in scorer.module.named_parameters()}
    optimizer = torch.optim.SGD(scorer.module.parameters(), lr=rate)
    rows = scorer.scores(requests_of(batch), outputs(scorer, batch))
    signs = torch.tensor([2 * label - 1 for group in batch for label in group.labels])
    (rows * signs).sum().backward()
    optimizer.step()
    return {names[id(p)] for p in scorer.module.parameters() if p.grad is not None and bool(p.grad.any())}
