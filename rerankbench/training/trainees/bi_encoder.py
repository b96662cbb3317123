"""A bi-encoder in training: cosine of embeddings, whole batches as negatives (Sentence-BERT, arXiv 1908.10084)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.training.groups import Group
from rerankbench.training.trainees.cross_encoder import in_rows, save_network

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Encoded


class BiEncoderTrainee:
    """Embeds each distinct text of a batch once."""

    def __init__(self, scorer: BiEncoder) -> None:
        self.scorer = replace(scorer, model=replace(scorer.model, dtype="float32"))
        self.network: torch.nn.Module = self.scorer.embedder.encoder.network

    def inputs(self, groups: Sequence[Group]) -> list[Encoded]:
        """One input a distinct text: queries first."""
        return self.scorer.embedder.inputs(list(self._places(groups)))

    def length(self, item: Encoded) -> int:
        """See Trainee."""
        return len(item.ids)

    def forward(self, items: Sequence[Encoded]) -> list[torch.Tensor]:
        """An embedding [H] for each text."""
        embedder = self.scorer.embedder
        return list(embedder.pooled(embedder.encoder.padded(items)).unbind())

    def scores(self, groups: Sequence[Group], outputs: Sequence[torch.Tensor], width: int) -> torch.Tensor:
        """See Trainee."""
        import torch

        queries, documents = self.embedded(groups, outputs)
        owners = [row for row, group in enumerate(groups) for _ in group.documents]
        cosines = (torch.stack(queries)[owners] * torch.stack(documents)).float().sum(1)
        return in_rows(groups, cosines.unbind(), width)

    def embedded(
        self, groups: Sequence[Group], outputs: Sequence[torch.Tensor]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """See EmbeddingTrainee."""
        places = self._places(groups)
        queries = [outputs[places[self.scorer.query_prefix + group.query.text]] for group in groups]
        documents = [outputs[places[self.scorer.document_prefix + d.text]] for group in groups for d in group.documents]
        return queries, documents

    def similarity(self, queries: Sequence[torch.Tensor], documents: Sequence[torch.Tensor]) -> torch.Tensor:
        """Cosines [B, D]."""
        import torch

        return torch.stack(list(queries)).float() @ torch.stack(list(documents)).float().T

    def save(self, folder: Path) -> None:
        """See Trainee; `SentenceTransformer` loads it, pooling and prefixes included."""
        embedder = self.scorer.embedder
        save_network(embedder.encoder.network, embedder.encoder.tokenizer.backend, folder)
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        listed = [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(modules)
        ]
        mode = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}[embedder.pooling_mode]
        pooling = {"word_embedding_dimension": embedder.encoder.network.config.hidden_size}
        flags = {f"pooling_mode_{name}": name == mode for name in ("mean_tokens", "cls_token", "lasttoken")}
        prompts = {"query": self.scorer.query_prefix, "document": self.scorer.document_prefix}
        written: dict[str, object] = {
            "modules.json": listed,
            "1_Pooling/config.json": {**pooling, **flags},
            "sentence_bert_config.json": {"max_seq_length": embedder.max_length, "do_lower_case": False},
            "config_sentence_transformers.json": {"prompts": prompts, "similarity_fn_name": "cosine"},
        }
        for name, content in written.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (folder / "2_Normalize").mkdir(exist_ok=True)

    def _places(self, groups: Sequence[Group]) -> dict[str, int]:
        """The distinct texts with their prefixes, and the place of each."""
        queries = [self.scorer.query_prefix + group.query.text for group in groups]
        documents = [self.scorer.document_prefix + d.text for group in groups for d in group.documents]
        return {text: place for place, text in enumerate(dict.fromkeys(queries + documents))}
