"""What every language model can be asked, wherever it runs: label scores, likelihoods, generated text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rerankbench.prompt import Prompt
from rerankbench.usage import Usage


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt filled with a query and documents, the documents cut to fit.

    A local model reads `ids`, a remote one `messages` and the forced `start` of the answer.
    cuts: places in `ids` up to which the prompt is likely to be shared with others, ascending. documents, queries: the
    places [start, end) in `ids` of the documents and of the query, in order of appearance. tail: the template's text
    behind the last query or document, which stands before the answer.
    """

    ids: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()
    documents: tuple[tuple[int, int], ...] = ()
    queries: tuple[tuple[int, int], ...] = ()
    tail: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    start: str = ""


class LanguageModel(Protocol):
    """A model that answers filled prompts. `usage` counts what it did."""

    usage: Usage

    def fill(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, new_tokens: int = 0
    ) -> Filled:
        """The prompt with this query and these documents, cut so that `new_tokens` fit behind it.

        Raises ConfigError where the query or the instruction alone does not fit; those are never cut.
        """
        ...

    def readable(self, prompt: Filled) -> str:
        """What the model sees, for a person."""
        ...

    def tokens(self, prompt: Filled) -> int:
        """The tokens of the prompt; an estimate where the tokenizer is elsewhere."""
        ...

    def label_scores(self, prompts: Sequence[Filled], labels: Sequence[str]) -> list[list[float | None]]:
        """Log-probability that each label comes next, up to a constant of the prompt: [N][L]; None where unknown.

        Raises ConfigError for a label that is not one token of its own.
        """
        ...

    def log_likelihoods(
        self, prompts: Sequence[Filled], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """Mean log-probability per token of each prompt's continuation [N], or their sum; 0 for an empty one."""
        ...

    def extended(self, prompt: Filled, said: str, forced: str) -> Filled:
        """The prompt with more of the answer: what the model said, read as plain text, and what it is made to say."""
        ...

    def generate(self, prompts: Sequence[Filled], new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """Greedy answers [N], each ended by one of the `stop` texts (kept in it), the end token or `new_tokens`."""
        ...
