"""Late interaction in training: MaxSim over token vectors (ColBERT, arXiv 2004.12832)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.training.groups import Group
from rerankbench.training.trainees.cross_encoder import in_rows, save_network

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded


@dataclass(frozen=True)
class Text:
    """A tokenised text, and whether it is a document, whose punctuation is left out."""

    encoded: Encoded
    is_document: bool


class LateInteractionTrainee:
    """Embeds each distinct query and document of a batch once, token by token.

    A checkpoint's linear layer (ColBERT's) is part of the network, and saved with it.
    """

    def __init__(self, scorer: LateInteraction) -> None:
        import torch

        self.scorer = replace(scorer, model=replace(scorer.model, dtype="float32"))
        embedder = self.scorer.embedder
        self.network: torch.nn.Module = embedder.encoder.network
        if embedder.projection is not None:
            linear = torch.nn.Linear(embedder.projection.shape[1], embedder.projection.shape[0], bias=False)
            linear.weight.data.copy_(embedder.projection)
            self.network.linear = linear
            embedder.projection = linear.weight

    def inputs(self, groups: Sequence[Group]) -> list[Text]:
        """One input a distinct query or document: queries first."""
        texts = list(self._places(groups))
        encoded = self.scorer.embedder.inputs([text for _, text in texts])
        return [Text(item, is_document) for item, (is_document, _) in zip(encoded, texts, strict=True)]

    def length(self, item: Text) -> int:
        """See Trainee."""
        return len(item.encoded.ids)

    def forward(self, items: Sequence[Text]) -> list[torch.Tensor]:
        """Token vectors [T, H] for each text, without a document's punctuation."""
        embedder = self.scorer.embedder
        vectors = embedder.token_vectors(embedder.encoder.padded([item.encoded for item in items]))
        kept = []
        for item, own in zip(items, vectors, strict=True):
            ids = item.encoded.ids
            skips = item.is_document and self.scorer.skip_punctuation
            places = [i for i, token in enumerate(ids) if not (skips and token in self.scorer.punctuation)]
            kept.append(own[places or list(range(len(ids)))])
        return kept

    def scores(self, groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """See Trainee."""
        queries, documents = self.embedded(groups, outputs)
        found: list[torch.Tensor] = []
        for query, group in zip(queries, groups, strict=True):
            found.extend(max_sim(query, documents[len(found) : len(found) + len(group.documents)]).unbind())
        return in_rows(groups, found, width)

    def embedded(
        self, groups: Sequence[Group], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """See EmbeddingTrainee; an embedding is token vectors [T, H]."""
        places = self._places(groups)
        queries = [outputs[places[False, self.scorer.query_prefix + group.query.text]] for group in groups]
        prefix = self.scorer.document_prefix
        return queries, [outputs[places[True, prefix + d.text]] for group in groups for d in group.documents]

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """MaxSim [B, D]."""
        import torch

        return torch.stack([max_sim(query, documents) for query in queries])

    def save(self, folder: Path) -> None:
        """See Trainee."""
        encoder = self.scorer.embedder.encoder
        save_network(encoder.network, encoder.tokenizer.backend, folder)

    def _places(self, groups: Sequence[Group]) -> dict[tuple[bool, str], int]:
        """(whether a document, text with its prefix) → place among the distinct texts."""
        queries = [(False, self.scorer.query_prefix + group.query.text) for group in groups]
        documents = [(True, self.scorer.document_prefix + d.text) for group in groups for d in group.documents]
        return {text: place for place, text in enumerate(dict.fromkeys(queries + documents))}


def max_sim(query: torch.Tensor, documents: Sequence[torch.Tensor]) -> torch.Tensor:
    """MaxSim [N] of a query [Q, H] with documents [T, H] each, in float32."""
    import torch

    padded = torch.nn.utils.rnn.pad_sequence([d.float() for d in documents], batch_first=True)
    lengths = torch.tensor([len(d) for d in documents], device=query.device)
    absent = torch.arange(padded.shape[1], device=query.device)[None, :] >= lengths[:, None]
    similarity = (padded @ query.float().T).masked_fill(absent[:, :, None], float("-inf"))
    return similarity.amax(1).sum(1)
