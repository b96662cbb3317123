"""Neural rankers from before the transformers: small networks, trained here (Guo et al., arXiv 1903.06902)."""

from __future__ import annotations

import ctypes
import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Self

from annotated_types import Ge

from rerankbench.batching import token_batches
from rerankbench.errors import key_of, tell_place
from rerankbench.models.model import Model
from rerankbench.models.zoo.checkpoint import described, is_trained, load_ranker, new_ranker, save_ranker
from rerankbench.models.zoo.network import Network
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.trainable import TrainableScorer
from rerankbench.store import content_hash
from rerankbench.types import Document
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Tokenizer

    Pair = tuple[list[int], list[int]]


@dataclass(kw_only=True)
class Neural(TrainableScorer):
    """The score of a network of `rerankbench.models.zoo`, always computed in float32.

    model: the checkpoint that a training left; for a training, any encoder: its tokenizer and input embeddings are
    what the network starts from. max_query, max_document: tokens read of each.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    model: Model
    network: Network
    max_query: Annotated[int, Ge(1)] = 32
    max_document: Annotated[int, Ge(1)] = 200
    usage: Usage = field(init=False, default_factory=Usage)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        """One score a request. Raises ConfigError for a model that is no trained network of the kind configured."""
        import torch

        pairs = self.inputs(requests)
        lengths = [len(query) + len(document) for query, document in pairs]
        scores = [0.0] * len(pairs)
        for batch in token_batches([max(1, length) for length in lengths], self.model.tokens_per_batch):
            with torch.inference_mode():
                batch_scores = self._scores([pairs[i] for i in batch]).tolist()
            width = max(len(pairs[i][0]) for i in batch) + max(len(pairs[i][1]) for i in batch)
            self.usage.forward_passes += 1
            self.usage.prompt_tokens += sum(lengths[i] for i in batch)
            self.usage.padded_tokens += sum(width - lengths[i] for i in batch)
            for index, score in zip(batch, batch_scores, strict=True):
                scores[index] = score
        return scores

    def fingerprint(self) -> str:
        """Of the weights, the network's kind and sizes and the lengths."""
        kind = described(self.network, self.max_query, self.max_document)
        return content_hash("neural", self.model.fingerprint, kind)

    @functools.cached_property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        from rerankbench.models.encoders.encoder import Tokenizer

        return Tokenizer(self.model)

    @functools.cached_property
    def module(self) -> torch.nn.Module:
        """The trained network, loaded on first use."""
        return load_ranker(self.model, self.network, self.tokenizer, self.max_query, self.max_document)

    def for_training(self) -> Self:
        """See TrainableScorer. Unless the model is a trained network, its layers get weights from torch's seed."""
        scorer = replace(self)
        tell_place(scorer, key_of(self, ""))
        if not is_trained(self.model):
            lengths = self.max_query, self.max_document
            scorer.module = new_ranker(self.model, self.network, scorer.tokenizer, *lengths)
        _keep_freed_memory()
        return scorer

    def fit(self, documents: Iterable[Document]) -> None:
        """Take every token's idf, ln((N + 1) / (n + 1)), from the documents of the collection. Before it, all are 1."""
        import torch

        tokenizer = self.tokenizer.backend.backend_tokenizer
        texts = (document.text for document in documents)
        total, containing = 0, Counter[int]()
        while chunk := list(islice(texts, 1024)):
            total += len(chunk)
            for encoding in tokenizer.encode_batch_fast(chunk, add_special_tokens=False):
                containing.update(set(encoding.ids))
        idf = self.module.get_buffer("idf")
        counts = torch.tensor([containing[token] for token in range(len(idf))], dtype=torch.float64)
        idf.copy_(((total + 1) / (counts + 1)).log())

    def inputs(self, requests: Sequence[Pointwise]) -> list[Pair]:
        """The token ids of each query and document, cut to fit; cut ones are counted."""
        queries = self.tokenizer.read([request.query.text for request in requests])
        documents = self.tokenizer.read([request.candidate.document.text for request in requests])
        pairs = list(zip(queries, documents, strict=True))
        self.usage.truncated_inputs += sum(len(q) > self.max_query or len(d) > self.max_document for q, d in pairs)
        return [(query[: self.max_query], document[: self.max_document]) for query, document in pairs]

    def length(self, item: Pair) -> int:
        """See TrainableScorer."""
        return len(item[0]) + len(item[1])

    def forward(self, items: Sequence[Pair]) -> list[torch.Tensor]:
        """A score for each pair, in float32 whatever the precision of the stage: kernels are too narrow for less."""
        import torch

        with torch.autocast(self.module.get_buffer("idf").device.type, enabled=False):
            return list(self._scores(items).unbind())

    def scores(self, requests: Sequence[Pointwise], outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """See TrainableScorer."""
        import torch

        return torch.stack(list(outputs)).float()

    def save(self, folder: Path) -> None:
        """Write `neural.json`, weights and tokenizer: what the scorer loads as `model.path`."""
        save_ranker(folder, self.module, self.network, self.tokenizer, self.max_query, self.max_document)

    def _scores(self, pairs: Sequence[Pair]) -> torch.Tensor:
        """Scores [B] of one batch of inputs, float32."""
        idf = self.module.get_buffer("idf")
        q_ids, q_mask = _padded([query for query, _ in pairs], idf.device)
        d_ids, d_mask = _padded([document for _, document in pairs], idf.device)
        scores: torch.Tensor = self.module(q_ids, d_ids, q_mask, d_mask, idf[q_ids])
        return scores


def _padded(texts: Sequence[list[int]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids, 0 in padding, and the mask, both [B, T]; T is at least 1."""
    import torch

    width = max(1, *map(len, texts))
    lengths = torch.tensor([len(ids) for ids in texts], device=device)
    padded = torch.tensor([ids + [0] * (width - len(ids)) for ids in texts], device=device)
    return padded, torch.arange(width, device=device) < lengths[:, None]


def _keep_freed_memory() -> None:
    """Have glibc, where it is glibc, keep what this process frees.

    The gradient of a whole vocabulary is larger than what it keeps by itself. Given back to the system and faulted in
    anew, it takes half of the time of each step.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
