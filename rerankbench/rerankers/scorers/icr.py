"""In-context reranking: the attention that a query pays to documents in one prompt (Chen et al., arXiv 2410.02642)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.lm.attention_capture import capture_attention, enable_capture
from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Listwise, Request
from rerankbench.rerankers.scorers.prompted import Prompted

if TYPE_CHECKING:
    import torch

    from rerankbench.models.lm.causal import CausalLM

NO_QUERY = "N/A"
"""The query without content, whose attention is subtracted from the real one's (calibration)."""


@dataclass(kw_only=True)
class ICR(Prompted):
    """A document's score: Σ over its tokens of the attention they get, less what a query without content gives them.

    Attention is the mean over the attending rows, summed over heads and layers. A token more than two standard
    deviations below its document's mean is left out. Two forward passes, the second on the first's cache; nothing is
    generated. The prompt shows the query behind the documents.
    rows: which rows attend, everything behind the documents (`tail`, as the authors have it) or the query's own tokens.
    reversed: show the documents in reverse, so that the best is next to the query, as the authors do for BEIR.
    """

    model: Model
    answers: ClassVar[type[Listwise]] = Listwise
    rows: Literal["tail", "query"] = "tail"
    reversed: bool = True

    def answer(self, requests: Sequence[Listwise]) -> list[list[int]]:
        """The order of each request's documents; ties stay as shown."""
        prompts = [self.encode_prompt(request) for request in requests]
        scores = [self.scores(request, prompt) for request, prompt in zip(requests, prompts, strict=True)]
        self.record_exchanges(requests, prompts, scores)
        return [sorted(range(len(row)), key=lambda i: -row[i]) for row in scores]

    def encode_prompt(self, request: Request) -> EncodedPrompt:
        """The prompt, its documents in the order in which they are shown."""
        if self.reversed and isinstance(request, Listwise):
            request = replace(request, candidates=request.candidates[::-1])
        return super().encode_prompt(request)

    def max_new_tokens(self, request: Request) -> int:
        """Tokens that `N/A` may have more than the query."""
        return 4

    def scores(self, request: Listwise, prompt: EncodedPrompt) -> list[float]:
        """One score for each of the request's documents."""
        ends = [end for _, end in prompt.documents]
        if len(ends) != len(request.candidates) or not prompt.queries or prompt.queries[0][0] < ends[-1]:
            problem = "must show each document once, and behind them all the query"
            raise ConfigError(key_of(self.prompt, "messages"), problem)
        shared, cache = ends[-1], self._new_cache()
        without_query = self._without_query(request, prompt)
        baseline = self._attention(without_query, 0, cache)[:shared]
        cache.crop(shared - len(without_query.ids))
        gained = self._attention(prompt, shared, cache)[:shared] - baseline
        self.language_model.usage.reused_tokens += shared
        scores = [_sum_without_outliers(gained[start:end]) for start, end in prompt.documents]
        return scores[::-1] if self.reversed else scores

    def _without_query(self, request: Listwise, prompt: EncodedPrompt) -> EncodedPrompt:
        """The prompt up to its last document, and behind it what follows for a query without content."""
        texts = [candidate.document.text for candidate in request.candidates]
        encode, reserved = self._lm.prompt_encoder.encode, self.max_new_tokens(request)
        other, _ = encode(self.prompt, NO_QUERY, texts, request.top, reserved)
        shared, start = prompt.documents[-1][1], other.documents[-1][1]
        moved = tuple((first + shared - start, end + shared - start) for first, end in other.queries)
        return replace(other, ids=prompt.ids[:shared] + other.ids[start:], documents=prompt.documents, queries=moved)

    def _attention(self, prompt: EncodedPrompt, start: int, cache: Any) -> torch.Tensor:
        """Run the prompt from `start` on; how much its rows attend to each position, [T] float32 on the CPU."""
        import torch

        rows = self._rows(prompt)
        ids = torch.tensor([prompt.ids[start:]], device=self._network.device)
        with torch.inference_mode(), capture_attention(range(rows.start - start, rows.stop - start)) as capture:
            self._network.base_model(input_ids=ids, past_key_values=cache, use_cache=True)
        assert capture.total is not None
        usage = self.language_model.usage
        usage.forward_passes += 1
        usage.prompt_tokens += len(prompt.ids)
        return capture.total.cpu()

    def _rows(self, prompt: EncodedPrompt) -> range:
        """The positions that attend."""
        if self.rows == "query" and prompt.queries[0][0] < prompt.queries[0][1]:
            return range(*prompt.queries[0])
        start = prompt.documents[-1][1]
        while not self._lm.prompt_encoder.decode([prompt.ids[start]]).strip() and start < prompt.queries[0][0]:
            start += 1  # the blank line behind the last document
        return range(start, len(prompt.ids))

    @functools.cached_property
    def _lm(self) -> CausalLM:
        return self.causal_lm("whose attention can be read")

    @functools.cached_property
    def _network(self) -> Any:
        return enable_capture(self._lm.network, key_of(self.model, "path"))

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache()  # without a configuration it keeps all positions, those outside a layer's window too


def _sum_without_outliers(gained: torch.Tensor) -> float:
    """The sum of a document's gains [T] without those more than two standard deviations below their mean."""
    deviation = gained.std() if len(gained) > 1 else gained.new_zeros(())
    return float(gained[gained >= gained.mean() - 2 * deviation].sum())
