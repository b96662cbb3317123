"""An embedding model that reranks, its query being a prompt with documents (E2Rank, Liu et al., arXiv 2510.22733)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from rerankbench.errors import ConfigError
from rerankbench.models.encoders.embedder import Memory
from rerankbench.models.lm.causal import CausalLM
from rerankbench.models.lm.language_model import Filled
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Listwise, Request
from rerankbench.rerankers.scorers.prompted import Prompted

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class E2Rank(Prompted):
    """Cosine of a document's embedding and that of the prompt, which shows the query with the best candidates.

    An embedding is the last hidden state of the last token: of the prompt as it is, of a document with the token `end`
    behind it. Documents are embedded once, whatever the query; the prompt's `document_tokens` cuts them here too.
    shown: how many of the request's documents the prompt shows; the others are scored all the same.
    """

    model: Model
    answers: ClassVar[type[Listwise]] = Listwise
    shown: int = 20
    end: str = "<|endoftext|>"

    def __post_init__(self) -> None:
        if self.shown < 1:
            raise ConfigError("shown", f"must be at least 1, got {self.shown}")

    def answer(self, requests: Sequence[Listwise]) -> list[list[int]]:
        """The order of each request's documents by cosine; ties stay as shown."""
        import torch

        prompts = [self.filled(request) for request in requests]
        self._remember([c.document.text for request in requests for c in request.candidates])
        queries = self._embed([prompt.ids for prompt in prompts], [prompt.cuts for prompt in prompts])
        scores = []
        for request, query in zip(requests, queries, strict=True):
            documents = torch.stack([self._memory[c.document.text] for c in request.candidates])
            scores.append((documents * query).sum(1).tolist())  # unlike a product, the same for equal rows
        self._memory.trim()
        self.keep(requests, prompts, scores)
        return [sorted(range(len(own)), key=lambda i: -own[i]) for own in scores]

    def prepare(self, requests: Sequence[Listwise]) -> None:
        """See Scorer."""
        self._memory.settle(c.document.text for request in requests for c in request.candidates)

    def filled(self, request: Request) -> Filled:
        """The prompt with the documents that it shows."""
        if isinstance(request, Listwise):
            request = replace(request, candidates=request.candidates[: self.shown])
        return super().filled(request)

    def _remember(self, texts: Sequence[str]) -> None:
        for company in self._memory.absent(texts):
            inputs = [self._document(text) for text in company]
            for text, vector in zip(company, self._embed(inputs, [()] * len(company)), strict=True):
                self._memory[text] = vector

    def _document(self, text: str) -> tuple[int, ...]:
        """A document's ids, cut to fit, and the end token."""
        filler = self._lm.filler
        ids = filler.continuation_ids("", text)
        room = min(self.prompt.document_tokens or 1 << 30, filler.context - 1)
        self.usage.truncated_inputs += len(ids) > room
        return (*ids[:room], self._end)

    def _embed(self, inputs: Sequence[Sequence[int]], cuts: Sequence[Sequence[int]]) -> torch.Tensor:
        """Normalised embeddings [N, H] of token ids, float32 on the CPU."""
        import torch

        vectors: list[torch.Tensor] = [torch.empty(0)] * len(inputs)
        for index, states in self._lm.states(inputs, cuts, 1):
            vectors[index] = torch.nn.functional.normalize(states[-1].float(), dim=0).cpu()
        return torch.stack(vectors) if vectors else torch.empty(0, 0)

    @functools.cached_property
    def _lm(self) -> CausalLM:
        if not isinstance(self.language_model, CausalLM):
            raise ConfigError("model", "must be a causal language model on this machine: its hidden states are read")
        return self.language_model

    @functools.cached_property
    def _end(self) -> int:
        found = self._lm.filler.backend.get_vocab().get(self.end)
        if found is None:
            raise ConfigError("reranker.scorer.end", f"{self.end!r} is not a token of {self.model.location}")
        return int(found)

    @functools.cached_property
    def _memory(self) -> Memory:
        return Memory(capacity=100_000)
