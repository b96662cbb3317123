"""Network, loss and weighting as one module: groups go in, a summed loss comes out.

The inputs of a step are sorted by length and read in batches under a token budget, whatever groups they belong to, so
hardly any padding is read; the loss sees the whole step. With `recompute` the activations of each such batch are
thrown away and made again on the way back (GradCache, arXiv 2101.06983), so that a step's size is free of memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch.utils.checkpoint import checkpoint

from rerankbench.batching import token_batches
from rerankbench.training.groups import Batch, Group, batch_of
from rerankbench.training.in_batch import all_vectors, pool_batch
from rerankbench.training.losses.loss import Loss, expected_count, reduced
from rerankbench.training.trainees.trainee import EmbeddingTrainee, Trainee
from rerankbench.training.weighting.weighting import Weighting


@dataclass
class Tally:
    """What the steps since the last log line did."""

    tokens: int = 0
    pairs: int = 0
    padded: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Remember a value of this step; the log shows the mean."""
        self.values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """The mean of each value."""
        return {name: sum(values) / len(values) for name, values in self.values.items()}


class Learner(torch.nn.Module):
    """`forward(groups)` is Σ weight · loss over what is valid, plus the weighting's own loss times that count."""

    def __init__(
        self,
        trainee: Trainee,
        loss: Loss,
        weighting: Weighting | None,
        in_batch: bool,
        batch_tokens: int,
        recompute: bool,
    ) -> None:
        super().__init__()
        self.network = trainee.network
        self.trainee, self.loss, self.weighting = trainee, loss, weighting
        self.weighting_module = weighting.module if weighting is not None else None
        self.in_batch, self.batch_tokens, self.recompute = in_batch, batch_tokens, recompute
        self.progress = 0.0
        self.tally = Tally()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def forward(self, groups: list[Group]) -> torch.Tensor:
        """The summed loss of these groups, a scalar; divide by the count of the whole step (see `count`)."""
        batch = self.batch(groups)
        outputs = self.outputs(groups, self.recompute and torch.is_grad_enabled())
        scores = self._scores(groups, outputs, batch)
        labels = batch.labels if self.weighting is None else self.weighting.labels(batch, scores.detach())
        values = self.loss(scores, labels, batch.mask, teacher=batch.teacher, progress=self.progress)
        valid = self.loss.valid(labels, batch.mask)
        weights = None
        if self.weighting is not None:
            weights = self.weighting.weights(
                batch, scores.detach(), values.detach(), valid, self.loss.unit, self.progress
            )
            self._tally_weights(weights[valid])
        total, count = reduced(self.loss, values, valid, weights)
        if self.weighting is not None:
            own = self.weighting.own_loss(batch, scores.detach())
            total = total if own is None else total + own * count
            for name, value in self.weighting.report().items():
                self.tally.add(name, value)
        self._tally_scores(scores.detach(), batch)
        return total

    def batch(self, groups: list[Group]) -> Batch:
        """The groups as tensors; with `in_batch` every candidate of the step is a candidate of every query."""
        return pool_batch(groups, self.device) if self.in_batch else batch_of(groups, self.device)

    def count(self, groups: list[Group]) -> float:
        """What the loss of these groups is a sum over: valid lists, or values."""
        batch = self.batch(groups)
        return float(expected_count(self.loss, batch.labels, batch.mask))

    def outputs(self, groups: Sequence[Group], recompute: bool = False) -> list[torch.Tensor]:
        """The network's output for each of the trainee's inputs."""
        items = self.trainee.inputs(groups)
        lengths = [self.trainee.length(item) for item in items]
        found: list[torch.Tensor] = [torch.empty(0)] * len(items)
        for places in token_batches(lengths, self.batch_tokens):
            own = [items[place] for place in places]
            if recompute:
                made: list[torch.Tensor] = checkpoint(self.trainee.forward, own, use_reentrant=False)
            else:
                made = self.trainee.forward(own)
            for place, output in zip(places, made, strict=True):
                found[place] = output
            self.tally.padded += len(places) * lengths[places[0]]
        self.tally.tokens += sum(lengths)
        self.tally.pairs += sum(len(group.documents) for group in groups)
        return found

    def score(self, groups: Sequence[Group]) -> list[list[float]]:
        """The scores of each group's candidates as the network stands, without training it."""
        was, tally = self.network.training, self.tally
        self.network.eval()
        self.tally = Tally()
        found: list[list[float]] = []
        try:
            with torch.inference_mode():
                for start in range(0, len(groups), 64):  # a text of several lists is read once
                    part = groups[start : start + 64]
                    width = max(len(group.documents) for group in part)
                    outputs = self.outputs(part)
                    with torch.autocast(self.device.type, enabled=False):
                        rows = self.trainee.scores(part, outputs, width).tolist()
                    found.extend(row[: len(group.documents)] for row, group in zip(rows, part, strict=True))
        finally:
            self.network.train(was)
            self.tally = tally
        return found

    def _scores(self, groups: list[Group], outputs: list[torch.Tensor], batch: Batch) -> torch.Tensor:
        with torch.autocast(self.device.type, enabled=False):  # what embeds may be in bf16, what compares may not
            if self.in_batch:
                embedding = cast(EmbeddingTrainee, self.trainee)
                queries, documents = embedding.embedded(groups, outputs)
                return embedding.similarity(queries, all_vectors(documents))
            return self.trainee.scores(groups, outputs, batch.labels.shape[1])

    def _tally_weights(self, weights: torch.Tensor) -> None:
        if not weights.numel():
            return
        own = weights.float()
        self.tally.add("weights/mean", float(own.mean()))
        self.tally.add("weights/min", float(own.min()))
        self.tally.add("weights/max", float(own.max()))
        squares = float((own**2).sum())
        self.tally.add("weights/effective_share", float(own.sum()) ** 2 / squares / own.numel() if squares else 0.0)

    def _tally_scores(self, scores: torch.Tensor, batch: Batch) -> None:
        """The spread of scores within a list: near 0 the network tells its candidates no longer apart."""
        real = scores.masked_fill(~batch.mask, 0.0).float()
        n = batch.mask.sum(1).clamp(min=1)
        mean = real.sum(1) / n
        variance = (((real - mean[:, None]) ** 2) * batch.mask).sum(1) / n
        self.tally.add("scores/spread", float(variance.sqrt().mean()))
