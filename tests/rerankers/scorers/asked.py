"""Questions for scorers, and a language model that answers them as a test wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import strategies as st

from rerankbench.models.lm.language_model import EncodedPrompt, LanguageModel, Sampling
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Groupwise, Listwise, Pairwise, Pointwise, Setwise
from rerankbench.types import Candidate, Document, Query
from rerankbench.usage import Usage
from tests.models.toy_language_model import texts

QUERIES = [Query("q0", "what is red"), Query("q1", "roses of the garden"), Query("q2", "")]


def candidates(n: int, seed: int = 7) -> tuple[Candidate, ...]:
    """n candidates with texts of unequal lengths, an empty one perhaps."""
    return tuple(Candidate(Document(f"d{i}", text), i, float(n - i)) for i, text in enumerate(texts(seed, n)))


def pointwise(n: int, seed: int = 7) -> list[Pointwise]:
    return [Pointwise(QUERIES[i % 2], candidate) for i, candidate in enumerate(candidates(n, seed))]


def pairs(n: int, seed: int = 7) -> list[Pairwise]:
    """Every pair of n in both orders."""
    shown = candidates(n, seed)
    return [Pairwise(QUERIES[0], a, b) for a in shown for b in shown if a is not b]


def setwise(*sizes: int) -> list[Setwise]:
    return [Setwise(QUERIES[i % 2], candidates(n, i)) for i, n in enumerate(sizes)]


def listwise(*sizes: int, top: int | None = None) -> list[Listwise]:
    return [Listwise(QUERIES[i % 2], candidates(n, i), top) for i, n in enumerate(sizes)]


def groupwise(*sizes: int) -> list[Groupwise]:
    return [Groupwise(QUERIES[i % 2], candidates(n, i)) for i, n in enumerate(sizes)]


@dataclass
class Said:
    """A model in name, whose answers are given: texts in turn, and label scores by a function of the prompt."""

    texts: Sequence[str] = ()
    scores: Callable[[EncodedPrompt, Sequence[str]], list[float | None]] = lambda prompt, labels: [0.0 for _ in labels]
    fingerprint: str = "said"
    usage: Usage = field(default_factory=Usage)
    asked: list[dict[str, Any]] = field(default_factory=list)

    def language_model(self, usage: Usage) -> LanguageModel:
        self.usage = usage
        return self

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> EncodedPrompt:
        return EncodedPrompt(messages=(("user", "|".join([query, *documents])),), start=prompt.start, template=prompt)

    def readable(self, prompt: EncodedPrompt) -> str:
        return prompt.messages[0][1] + prompt.start

    def tokens(self, prompt: EncodedPrompt) -> int:
        return len(prompt.messages[0][1].split())

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        self.asked.append({"labels": list(labels), "n": len(prompts)})
        return [self.scores(prompt, labels) for prompt in prompts]

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        return [-float(len(text)) for text in continuations]

    def extended(self, prompt: EncodedPrompt, generated: str, forced: str) -> EncodedPrompt:
        return replace(prompt, start=prompt.start + generated + forced)

    def generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[str]:
        self.asked.append({"max_new_tokens": max_new_tokens, "stop": tuple(stop), "n": len(prompts)})
        start = sum(one["n"] for one in self.asked[:-1] if "max_new_tokens" in one)
        return [self.texts[(start + i) % len(self.texts)] for i in range(len(prompts))]


_PARTS = ["[1]", "[2]", "[99]", "A", "B", "Passage A", " > ", "<think>", "</think>", "<answer>", "</answer>", "{", "}",
          '"[1]": 5', ": NaN", "1e999", "\uff19", "²", "true", "false", "None", "\n", "[[", "]]", "Document 3, ", "-7",
          "```"]  # fmt: skip
hostile = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(_PARTS), max_size=14).map("".join))
"""What a model might write."""
