"""Reranking models behind a `/rerank` API: one call holds a query and many documents.

Sources: Cohere's reference (https://docs.cohere.com/reference/rerank), whose shape vLLM, Jina and Voyage share, and
Text Embeddings Inference (https://huggingface.co/docs/text-embeddings-inference), which has its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.endpoint.answers import count, dig, number
from rerankbench.models.endpoint.endpoint import Endpoint
from rerankbench.rerankers.requests import Answer, Failure, Pointwise
from rerankbench.rerankers.scorer import Scorer
from rerankbench.store import content_hash
from rerankbench.usage import Usage

SPECIAL = 8
"""Tokens that a model may put around and between query and document."""
MIN_DOCUMENT = 8


@dataclass(kw_only=True)
class RerankEndpoint(Scorer):
    """The endpoint's own score: raw logits from TEI, most others in [0, 1].

    shape: `cohere`, {model, query, documents, top_n} → results of {index, relevance_score}; `tei`, {query, texts} →
    a list of {index, score}. documents_per_call: the longest list that is sent. Documents are cut to the endpoint's
    `context`, where it is given.
    """

    answers: ClassVar[type[Pointwise]] = Pointwise
    model: Endpoint
    shape: Literal["cohere", "tei"] = "cohere"
    documents_per_call: Annotated[int, Ge(1)] = 64
    usage: Usage = field(init=False, default_factory=Usage)

    def __post_init__(self) -> None:
        if not isinstance(self.model, Endpoint):
            raise ConfigError("model", "must be an endpoint with a /rerank API: model=http model.url=… model.name=…")

    def answer(self, requests: Sequence[Pointwise]) -> list[Answer | Failure]:
        """One score for each request; a failure where the endpoint returned none."""
        by_query: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_query.setdefault(request.query.text, []).append(index)
        size = self.documents_per_call
        calls = [(q, indices[i : i + size]) for q, indices in by_query.items() for i in range(0, len(indices), size)]
        bodies = [self._body(q, [requests[i].candidate.document.text for i in indices]) for q, indices in calls]
        scores: dict[int, float] = {}
        for (_, indices), answer in zip(calls, self.model.client.post_all("rerank", bodies), strict=True):
            count(self.usage, answer)
            if dig(answer, "usage", "prompt_tokens") is None:
                self.usage.prompt_tokens += int(number(dig(answer, "usage", "total_tokens")) or 0)
            scores.update((indices[i], score) for i, score in _scores(answer, len(indices)).items())
        return [scores.get(index, Failure("no score")) for index in range(len(requests))]

    def fingerprint(self) -> str:
        """Of the endpoint and the shape."""
        return content_hash("rerank_endpoint", self.model.fingerprint, self.shape)

    def _body(self, query: str, documents: Sequence[str]) -> dict[str, Any]:
        texts = [self._cut(query, document) for document in documents]
        if self.shape == "tei":
            return self.model.body(query=query, texts=texts, truncate=True, raw_scores=True)
        return self.model.body(query=query, documents=texts, top_n=len(texts))

    def _cut(self, query: str, document: str) -> str:
        if self.model.context is None:
            return document
        document_tokens = self.model.context - len(self.model.token_ends(query)) - SPECIAL
        ends = self.model.token_ends(document)
        if len(ends) <= document_tokens:
            return document
        if document_tokens < MIN_DOCUMENT:
            raise ConfigError(
                key_of(self.model, "context"), f"{self.model.context} tokens do not hold the query {query[:80]!r}"
            )
        self.usage.truncated_inputs += 1
        return document[: ends[document_tokens - 1]]


def _scores(answer: Any, n: int) -> dict[int, float]:
    """Index among the n documents → score, wherever the API puts them."""
    listed = answer if isinstance(answer, list) else dig(answer, "results") or dig(answer, "data")
    scores: dict[int, float] = {}
    for result in listed if isinstance(listed, list) else ():
        index = dig(result, "index")
        score = number(dig(result, "relevance_score"))
        score = number(dig(result, "score")) if score is None else score
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < n and score is not None:
            scores.setdefault(index, score)
    return scores
