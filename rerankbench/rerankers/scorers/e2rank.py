"""An embedding model whose query is a prompt with query and documents (E2Rank, Liu et al., arXiv 2510.22733)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.encoders.embedder import EmbeddingCache
from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.rerankers.requests import Listwise, Request
from rerankbench.rerankers.scorers.prompted import Prompted

if TYPE_CHECKING:
    import torch

    from rerankbench.models.lm.causal import CausalLM


@dataclass(kw_only=True)
class E2Rank(Prompted):
    """Cosine of a document's embedding and that of the prompt, which shows the query with the best candidates.

    An embedding is the last hidden state of the last token: of the prompt as it is, of a document with the token `end`
    behind it. Documents are embedded once, whatever the query; the prompt's `document_tokens` truncates them here too.
    shown: how many of the request's documents the prompt shows; all are scored.
    """

    answers: ClassVar[type[Listwise]] = Listwise
    shown: Annotated[int, Ge(1)] = 20
    end: str = "<|endoftext|>"

    def answer(self, requests: Sequence[Listwise]) -> list[list[int]]:
        """The order of each request's documents by cosine; ties stay as shown."""
        import torch

        prompts = [self.encode_prompt(request) for request in requests]
        self._remember([c.document.text for request in requests for c in request.candidates])
        queries = self._embed([prompt.ids for prompt in prompts], [prompt.prefix_lengths for prompt in prompts])
        scores = []
        for request, query in zip(requests, queries, strict=True):
            documents = torch.stack([self._cache[c.document.text] for c in request.candidates])
            scores.append((documents * query).sum(1).tolist())  # unlike a matrix product, equal for equal rows
        self._cache.trim()
        self.record_exchanges(requests, prompts, scores)
        return [sorted(range(len(row)), key=lambda i: -row[i]) for row in scores]

    def prepare(self, requests: Sequence[Listwise]) -> None:
        """See Scorer."""
        self._cache.assign_batches(c.document.text for request in requests for c in request.candidates)

    def encode_prompt(self, request: Request) -> EncodedPrompt:
        """The prompt with the documents that it shows."""
        if isinstance(request, Listwise):
            request = replace(request, candidates=request.candidates[: self.shown])
        return super().encode_prompt(request)

    def _remember(self, texts: Sequence[str]) -> None:
        for batch in self._cache.missing_batches(texts):
            inputs = [self._document(text) for text in batch]
            for text, vector in zip(batch, self._embed(inputs, [()] * len(batch)), strict=True):
                self._cache[text] = vector

    def _document(self, text: str) -> tuple[int, ...]:
        """A document's ids, truncated to fit, and the end token."""
        encoder = self._lm.prompt_encoder
        ids = encoder.continuation_ids("", text)
        limit = min(self.prompt.document_tokens or 1 << 30, encoder.context - 1)
        self.usage.truncated_inputs += len(ids) > limit
        return (*ids[:limit], self._end)

    def _embed(self, inputs: Sequence[Sequence[int]], prefix_lengths: Sequence[Sequence[int]]) -> torch.Tensor:
        """Normalised embeddings [N, H] of token ids, float32 on the CPU."""
        import torch

        vectors: list[torch.Tensor] = [torch.empty(0)] * len(inputs)
        for index, states in self._lm.hidden_states(inputs, prefix_lengths, 1):
            vectors[index] = torch.nn.functional.normalize(states[-1].float(), dim=0).cpu()
        return torch.stack(vectors) if vectors else torch.empty(0, 0)

    @functools.cached_property
    def _lm(self) -> CausalLM:
        return self.causal_lm("whose hidden states can be read")

    @functools.cached_property
    def _end(self) -> int:
        token = self._lm.prompt_encoder.tokenizer.get_vocab().get(self.end)
        if token is None:
            raise ConfigError(key_of(self, "end"), f"{self.end!r} is not a token of {self._lm.model.location}")
        return int(token)

    @functools.cached_property
    def _cache(self) -> EmbeddingCache:
        return EmbeddingCache(capacity=100_000)
