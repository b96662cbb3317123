"""Scorer, loss and weighting as one module: groups go in, summed losses come out.

The inputs of a step are sorted by length and read in batches under a token budget, whatever groups they belong to, so
there is hardly any padding; the loss sees the whole step. With `activation_checkpointing` the activations of each such
batch are discarded and recomputed in the backward pass (GradCache, arXiv 2101.06983), so memory does not limit a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import cast

import torch
from torch.utils.checkpoint import checkpoint

from rerankbench.batching import token_batches
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.trainable import EmbeddingScorer, TrainableScorer
from rerankbench.training.groups import Batch, Group, batch_of, in_rows, requests_of
from rerankbench.training.in_batch import all_vectors, pool_batch
from rerankbench.training.losses.loss import Loss, expected_count, reduced
from rerankbench.training.scored import Scored
from rerankbench.training.weighting.weighting import AppliedWeighting


@dataclass
class StepStatistics:
    """What the steps since the last log line did: tokens, pairs, tokens with padding, and values by name."""

    tokens: int = 0
    pairs: int = 0
    padded: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Add a value of this step; the mean is logged."""
        self.values.setdefault(name, []).append(value)

    def means(self) -> dict[str, float]:
        """The mean of each value."""
        return {name: sum(values) / len(values) for name, values in self.values.items()}


class TrainingModule(torch.nn.Module):
    """`forward(groups)` is Σ weight · loss over what is valid, for each component of the loss.

    The weighting's own loss, times the count, is part of the first component.
    """

    def __init__(
        self,
        scorer: TrainableScorer,
        loss: Loss,
        weighting: AppliedWeighting | None,
        in_batch: bool,
        batch_tokens: int,
        activation_checkpointing: bool,
    ) -> None:
        super().__init__()
        self.network = scorer.module
        self.scorer, self.loss, self.weighting = scorer, loss, weighting
        self.weighting_module = weighting.module if weighting is not None else None
        self.in_batch, self.batch_tokens = in_batch, batch_tokens
        self.activation_checkpointing = activation_checkpointing
        self.progress = 0.0
        self.statistics = StepStatistics()

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def forward(self, groups: list[Group]) -> torch.Tensor:
        """The summed loss of these groups for each component, [C], to be divided by its count (see `count`)."""
        batch, requests = self.batch(groups), requests_of(groups)
        outputs = self.outputs(requests, self.activation_checkpointing and torch.is_grad_enabled())
        scores = self._scores(groups, requests, outputs, batch)
        scored = Scored(scores, batch.labels, batch.mask, batch.teacher, self.progress, outputs, batch)
        detached = scored.detached()
        if self.weighting is not None:
            scored = replace(scored, labels=self.weighting.labels(detached))
        components, totals, counts = self.loss.components(), [], []
        for name, (weight, loss) in components.items():
            values, weights = loss(scored), None
            if self.weighting is not None:
                weights = self.weighting.weights(detached, values.detached())
                self._add_weights(weights[values.valid])
            total, count = reduced(loss, values, weights)
            totals.append(weight * total)
            counts.append(count)
            if len(components) > 1 and count:
                self.statistics.add(f"loss/{name}", float(total.detach() / count))
        if self.weighting is not None:
            own_loss = self.weighting.own_loss(detached)
            totals[0] = totals[0] if own_loss is None else totals[0] + own_loss * counts[0]
            for name, value in self.weighting.report().items():
                self.statistics.add(name, value)
        self._add_spread(detached)
        return torch.stack(totals)

    def batch(self, groups: list[Group]) -> Batch:
        """The groups as tensors; with `in_batch` every candidate of the step is a candidate of every query."""
        return pool_batch(groups, self.device) if self.in_batch else batch_of(groups, self.device)

    def count(self, groups: list[Group]) -> torch.Tensor:
        """What the loss of these groups is a sum over, valid lists or values, for each component: [C] float32."""
        batch = self.batch(groups)
        losses = [loss for _, loss in self.loss.components().values()]
        return torch.stack([expected_count(loss, batch.labels, batch.mask) for loss in losses]).float()

    def outputs(self, requests: Sequence[Pointwise], activation_checkpointing: bool = False) -> list[torch.Tensor]:
        """The network's output for each of the scorer's inputs."""
        items = self.scorer.inputs(requests)
        lengths = [self.scorer.length(item) for item in items]
        outputs: list[torch.Tensor] = [torch.empty(0)] * len(items)
        for indices in token_batches(lengths, self.batch_tokens):
            batch = [items[index] for index in indices]
            if activation_checkpointing:
                computed: list[torch.Tensor] = checkpoint(self.scorer.forward, batch, use_reentrant=False)
            else:
                computed = self.scorer.forward(batch)
            for index, output in zip(indices, computed, strict=True):
                outputs[index] = output
            self.statistics.padded += len(indices) * lengths[indices[0]]
        self.statistics.tokens += sum(lengths)
        self.statistics.pairs += len(requests)
        return outputs

    def score(self, groups: Sequence[Group]) -> list[list[float]]:
        """The scores of each group's candidates with the present weights, without training them."""
        training, statistics = self.network.training, self.statistics
        self.network.eval()
        self.statistics = StepStatistics()
        scores: list[list[float]] = []
        try:
            with torch.inference_mode():
                for start in range(0, len(groups), 64):  # a text of several lists is read once
                    part = groups[start : start + 64]
                    requests = requests_of(part)
                    outputs = self.outputs(requests)
                    with torch.autocast(self.device.type, enabled=False):
                        flat = self.scorer.scores(requests, outputs)
                    sizes = [len(group.documents) for group in part]
                    scores.extend(row.tolist() for row in torch.split(flat, sizes))
        finally:
            self.network.train(training)
            self.statistics = statistics
        return scores

    def _scores(
        self, groups: list[Group], requests: list[Pointwise], outputs: list[torch.Tensor], batch: Batch
    ) -> torch.Tensor:
        """Scores [B, N] in the batch's shape."""
        with torch.autocast(self.device.type, enabled=False):  # embedding may be in bf16, comparing may not
            if not self.in_batch:
                return in_rows(groups, self.scorer.scores(requests, outputs), batch.mask.shape[1])
            scorer = cast(EmbeddingScorer, self.scorer)
            queries, documents = scorer.embeddings(requests, outputs)
            starts = accumulate((len(group.documents) for group in groups[:-1]), initial=0)
            return scorer.similarity([queries[start] for start in starts], all_vectors(documents))

    def _add_weights(self, weights: torch.Tensor) -> None:
        if not weights.numel():
            return
        weights = weights.float()
        self.statistics.add("weights/mean", float(weights.mean()))
        self.statistics.add("weights/min", float(weights.min()))
        self.statistics.add("weights/max", float(weights.max()))
        squares = float((weights**2).sum())
        effective = float(weights.sum()) ** 2 / squares / weights.numel() if squares else 0.0
        self.statistics.add("weights/effective_share", effective)

    def _add_spread(self, scored: Scored) -> None:
        """The spread of scores within a list: near 0 the network no longer distinguishes its candidates."""
        scores, mask = scored.scores.float(), scored.mask
        n = mask.sum(1).clamp(min=1)
        mean = scores.sum(1) / n
        variance = (((scores - mean[:, None]) ** 2) * mask).sum(1) / n
        self.statistics.add("scores/spread", float(variance.sqrt().mean()))
