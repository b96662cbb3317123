"""What every language model can be asked, wherever it runs: label scores, likelihoods, generated text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

from annotated_types import Ge, Gt, Interval

from rerankbench.prompt import Prompt
from rerankbench.usage import Usage


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt with its query and documents inserted, the documents truncated to fit.

    A local model reads `ids`, a remote one `messages` and the forced `start` of the answer.
    prefix_lengths: lengths of the prefixes of `ids` that other prompts are likely to share, ascending. documents,
    queries: the spans [start, end) of the documents and of the query in `ids`, in order of appearance. answer_prefix:
    the text directly before the answer, behind the last query or document. template: the prompt it was made from.
    """

    ids: tuple[int, ...] = ()
    prefix_lengths: tuple[int, ...] = ()
    documents: tuple[tuple[int, int], ...] = ()
    queries: tuple[tuple[int, int], ...] = ()
    answer_prefix: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    start: str = ""
    template: Prompt | None = None


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How to draw an answer rather than decode greedily.

    n: answers for each prompt. top_p: tokens are drawn from the smallest set of this probability. seed: with the
    prompt's tokens it determines the n answers, whatever other prompts there are.
    """

    n: Annotated[int, Ge(1)] = 1
    temperature: Annotated[float, Gt(0)] = 1.0
    top_p: Annotated[float, Interval(gt=0, le=1)] = 1.0
    seed: int = 0


class LanguageModel(Protocol):
    """A model that answers encoded prompts. `usage` counts what it did."""

    usage: Usage

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> EncodedPrompt:
        """The prompt with this query and these documents, truncated so that `max_new_tokens` fit behind it.

        Raises ConfigError where the query or the instruction alone does not fit; those are never truncated.
        """
        ...

    def readable(self, prompt: EncodedPrompt) -> str:
        """What the model sees, as text for people."""
        ...

    def tokens(self, prompt: EncodedPrompt) -> int:
        """The tokens of the prompt; an estimate where the tokenizer is not known."""
        ...

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        """Log-probability that each label comes next, up to a constant per prompt: [N][L]; None where unknown.

        Raises ConfigError for a label that is not a single token of its own.
        """
        ...

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """Mean log-probability per token of each prompt's continuation [N], or their sum; 0 for an empty one."""
        ...

    def extended(self, prompt: EncodedPrompt, generated: str, forced: str) -> EncodedPrompt:
        """The prompt with more of the answer: what the model generated, as plain text, and text forced behind it."""
        ...

    def generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[str]:
        """Answers, each ended by one of the `stop` texts (kept in it), the end token or `max_new_tokens`.

        Greedy answers [N], or `sampling.n` sampled ones for each prompt, prompt by prompt: [N·n].
        """
        ...
