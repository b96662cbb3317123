"""Groups of random texts, and what every trainee must hold to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from rerankbench.batching import token_batches
from rerankbench.training.groups import Group
from rerankbench.types import Document, Query
from tests.models.toy_model import texts


def groups(*sizes: int, seed: int = 0) -> list[Group]:
    """A group of each size; its first document is relevant, and its last one's text is in every group."""
    found = []
    for row, (size, text) in enumerate(zip(sizes, texts(seed + 99, len(sizes), 3), strict=True)):
        own = [f"dog {text}" for text in texts(seed + row, size, 16)]
        own[-1] = "the same text in every group ."
        found.append(
            Group(
                query=Query(f"q{row}", f"cat {text}"),
                documents=tuple(Document(f"d{row}-{i}", text) for i, text in enumerate(own)),
                labels=tuple(float(i == 0) for i in range(size)),
                judged=(True,) * size,
                ranks=tuple(range(1, size + 1)),
                scores=(0.0,) * size,
            )
        )
    return found


def outputs(trainee: Any, own: Sequence[Group], budget: int = 10**6) -> list[torch.Tensor]:
    """The network's output for each input, read in batches under a budget of tokens."""
    items = trainee.inputs(own)
    found: list[torch.Tensor] = [torch.empty(0)] * len(items)
    for places in token_batches([trainee.length(item) for item in items], budget):
        for place, output in zip(places, trainee.forward([items[place] for place in places]), strict=True):
            found[place] = output
    return found


def scores(trainee: Any, own: Sequence[Group], budget: int = 10**6) -> list[list[float]]:
    """The scores of each group's candidates."""
    width = max(len(group.documents) for group in own)
    rows = trainee.scores(own, outputs(trainee, own, budget), width).tolist()
    return [row[: len(group.documents)] for row, group in zip(rows, own, strict=True)]


def flat(rows: Sequence[Sequence[float]]) -> list[float]:
    """All scores, group after group."""
    return [score for row in rows for score in row]


def moved(trainee: Any, own: Sequence[Group], rate: float = 0.05) -> set[str]:
    """Take one step of gradient descent; the parameters that have a gradient other than 0."""
    names = {id(parameter): name for name, parameter in trainee.network.named_parameters()}
    optimizer = torch.optim.SGD(trainee.network.parameters(), lr=rate)
    rows = trainee.scores(own, outputs(trainee, own), max(len(group.documents) for group in own))
    (rows[:, 0].sum() - rows[:, 1:].sum()).backward()
    optimizer.step()
    return {names[id(p)] for p in trainee.network.parameters() if p.grad is not None and bool(p.grad.any())}
