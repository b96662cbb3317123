"""A cross-encoder in training: any encoder with a scoring head (monoBERT, arXiv 1901.04085), or a decoder with one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.training.groups import Group
from rerankbench.types import Candidate

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded


class CrossEncoderTrainee:
    """Reads query and document together. An encoder without a head gets one of random weights, from torch's seed."""

    def __init__(self, scorer: CrossEncoder) -> None:
        from rerankbench.models.encoders.encoder import load_scoring_encoder

        model = replace(scorer.model, dtype="float32")
        self.scorer = replace(scorer, model=model)
        encoder, _ = load_scoring_encoder(model, self.scorer.usage)
        backend = encoder.tokenizer.backend
        backend.pad_token = backend.pad_token or backend.eos_token
        encoder.network.config.pad_token_id = backend.pad_token_id  # a decoder's head reads the last token before it
        if (outputs := encoder.network.config.num_labels) not in (1, 2):
            raise ConfigError("model.path", f"{model.location} has {outputs} outputs, not 1 or 2")
        self.scorer.encoder = encoder
        self.network: torch.nn.Module = encoder.network

    def inputs(self, groups: Sequence[Group]) -> list[Encoded]:
        """One input a candidate, group after group."""
        return self.scorer.inputs(pointwise_requests(groups))

    def length(self, item: Encoded) -> int:
        """See Trainee."""
        return len(item.ids)

    def forward(self, items: Sequence[Encoded]) -> list[torch.Tensor]:
        """A score for each pair."""
        return list(self.scorer.forward(self.scorer.encoder.padded(items)).unbind())

    def scores(self, groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """See Trainee."""
        return in_rows(groups, outputs, width)

    def save(self, folder: Path) -> None:
        """See Trainee; `sentence_transformers.CrossEncoder` loads it."""
        encoder = self.scorer.encoder
        encoder.network.config.sentence_transformers = {
            "activation_fn": "torch.nn.modules.linear.Identity",  # raw logits, as they are scored here
            "version": "5.0.0",
        }
        encoder.tokenizer.backend.chat_template = None  # pairs are read as they are, and so others are to read them
        save_network(encoder.network, encoder.tokenizer.backend, folder)


def pointwise_requests(groups: Sequence[Group]) -> list[Pointwise]:
    """A request for each candidate of each group, in order."""
    return [
        Pointwise(group.query, Candidate(document, max(rank - 1, 0), score))
        for group in groups
        for document, rank, score in zip(group.documents, group.ranks, group.scores, strict=True)
    ]


def in_rows(groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
    """The scores of all candidates one after another, as rows [B, width] with padding 0."""
    import torch

    sizes = [len(group.documents) for group in groups]
    rows = torch.split(torch.stack(list(outputs)).float(), sizes)
    return torch.stack([torch.nn.functional.pad(row, (0, width - len(row))) for row in rows])


def save_network(network: Any, tokenizer: Any, folder: Path) -> None:
    """Weights, configuration and tokenizer, as transformers reads them; adapters have files of their own."""
    weights = {name: t for name, t in network.state_dict().items() if ".adapters." not in f".{name}"}
    network.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
