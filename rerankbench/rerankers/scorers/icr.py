"""In-context reranking: the attention that a query pays to documents in one prompt (Chen et al., arXiv 2410.02642)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rerankbench.errors import ConfigError
from rerankbench.models.lm.attention import watchable, watching
from rerankbench.models.lm.causal import CausalLM
from rerankbench.models.lm.language_model import Filled
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Listwise, Request
from rerankbench.rerankers.scorers.prompted import Prompted

if TYPE_CHECKING:
    import torch

NO_QUERY = "N/A"
"""The query without content, whose attention is taken away from the real one's."""


@dataclass(kw_only=True)
class ICR(Prompted):
    """A document's score: Σ over its tokens of the attention they get, above what a query without content gives them.

    Attention is the mean over the rows that pay it, summed over heads and layers. A token more than two standard
    deviations below its document's mean is left out. Two forward passes, the second on the first's cache; nothing is
    generated. The prompt shows the query behind the documents.
    rows: who pays, everything behind the documents (`tail`, as the authors have it) or the query's own tokens.
    reversed: show the documents last first, so that the best stands next to the query, as the authors do for BEIR.
    """

    model: Model
    answers: ClassVar[type[Listwise]] = Listwise
    rows: Literal["tail", "query"] = "tail"
    reversed: bool = True

    def answer(self, requests: Sequence[Listwise]) -> list[list[int]]:
        """The order of each request's documents; ties stay as shown."""
        prompts = [self.filled(request) for request in requests]
        scores = [self.scores(request, prompt) for request, prompt in zip(requests, prompts, strict=True)]
        self.keep(requests, prompts, scores)
        return [sorted(range(len(own)), key=lambda i: -own[i]) for own in scores]

    def filled(self, request: Request) -> Filled:
        """The prompt, its documents in the order in which they are shown."""
        if self.reversed and isinstance(request, Listwise):
            request = replace(request, candidates=request.candidates[::-1])
        return super().filled(request)

    def room(self, request: Request) -> int:
        """What `N/A` may take more than the query."""
        return 4

    def scores(self, request: Listwise, prompt: Filled) -> list[float]:
        """One score for each of the request's documents."""
        ends = [end for _, end in prompt.documents]
        if len(ends) != len(request.candidates) or not prompt.queries or prompt.queries[0][0] < ends[-1]:
            raise ConfigError("prompt.messages", "must show each document once, and behind them all the query")
        shared, cache = ends[-1], self._new_cache()
        without = self._without_query(request, prompt)
        before = self._attention(without, 0, cache)[:shared]
        cache.crop(shared - len(without.ids))
        gained = self._attention(prompt, shared, cache)[:shared] - before
        self.language_model.usage.reused_tokens += shared
        found = [_kept_sum(gained[start:end]) for start, end in prompt.documents]
        return found[::-1] if self.reversed else found

    def _without_query(self, request: Listwise, prompt: Filled) -> Filled:
        """The prompt up to its last document, then as it goes on for a query without content."""
        texts = [candidate.document.text for candidate in request.candidates]
        other, _ = self._lm.filler.fill(self.prompt, NO_QUERY, texts, request.top, self.room(request))
        shared, start = prompt.documents[-1][1], other.documents[-1][1]
        moved = tuple((first + shared - start, end + shared - start) for first, end in other.queries)
        return replace(other, ids=prompt.ids[:shared] + other.ids[start:], documents=prompt.documents, queries=moved)

    def _attention(self, prompt: Filled, start: int, cache: Any) -> torch.Tensor:
        """Read the prompt from `start` on; what its rows attend to each place, [T] float32 on the CPU."""
        import torch

        rows = self._rows(prompt)
        ids = torch.tensor([prompt.ids[start:]], device=self.model.torch_device)
        with torch.inference_mode(), watching(range(rows.start - start, rows.stop - start)) as attention:
            self._network.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        assert attention.total is not None
        usage = self.language_model.usage
        usage.forward_passes += 1
        usage.prompt_tokens += len(prompt.ids)
        return attention.total.cpu()

    def _rows(self, prompt: Filled) -> range:
        """The places that pay attention."""
        if self.rows == "query" and prompt.queries[0][0] < prompt.queries[0][1]:
            return range(*prompt.queries[0])
        start = prompt.documents[-1][1]
        while not self._lm.filler.decode([prompt.ids[start]]).strip() and start < prompt.queries[0][0]:
            start += 1  # the blank line behind the last document
        return range(start, len(prompt.ids))

    @functools.cached_property
    def _lm(self) -> CausalLM:
        if not isinstance(self.language_model, CausalLM):
            raise ConfigError("model", "must be a causal language model on this machine: its attention is read")
        return self.language_model

    @functools.cached_property
    def _network(self) -> Any:
        return watchable(self._lm.network)

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()  # without a configuration it keeps all places, those outside a layer's window too


def _kept_sum(gained: torch.Tensor) -> float:
    """The sum of a document's gains [T] without those more than two standard deviations below their mean."""
    deviation = gained.std() if len(gained) > 1 else gained.new_zeros(())
    return float(gained[gained >= gained.mean() - 2 * deviation].sum())
