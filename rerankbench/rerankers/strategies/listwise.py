"""Order many documents at once: in windows that slide from the bottom to the top, or all in one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Listwise, Rounds, by_order
from rerankbench.rerankers.strategies.asking import OutOfBudget, ask
from rerankbench.types import Candidate, Query


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """Order windows from the bottom up, `stride` apart (RankGPT, Sun et al., arXiv 2304.09542).

    Windows end at n, n − stride, …, and the first one is cut short rather than shifted, as in rank_llm. A perfect
    scorer puts the best `window` − `stride` documents in place in one pass.
    """

    asks: ClassVar[type[Listwise]] = Listwise
    window: Annotated[int, Ge(2)] = 20
    stride: Annotated[int, Ge(1)] = 10
    passes: Annotated[int, Ge(1)] = 1

    def __post_init__(self) -> None:
        if self.stride >= self.window:  # no document could pass from one window to the next
            raise ConfigError("stride", f"must be below window={self.window}, got {self.stride}")

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask one window a round; a failed answer, and a spent budget, leave the list as it is."""
        order = list(candidates)
        try:
            for start, end in self._windows(len(order)) * self.passes:
                shown = tuple(order[start:end])
                (answer,) = yield from ask([Listwise(query, shown)])
                if answer is not None:
                    order[start:end] = [shown[i] for i in answer]
        except OutOfBudget:
            pass
        return by_order(order)

    def _windows(self, n: int) -> list[tuple[int, int]]:
        if n < 2:
            return []
        before_last = range(n, self.window, -self.stride)  # the ends of all windows that do not start at 0
        last = before_last[-1] - self.stride if before_last else n
        return [*((end - self.window, end) for end in before_last), (0, last)]


@dataclass(frozen=True, kw_only=True)
class OneShot:
    """Order the whole list in one request."""

    asks: ClassVar[type[Listwise]] = Listwise

    def rank(self, query: Query, candidates: Sequence[Candidate]) -> Rounds:
        """Ask once; a failed answer keeps the first-stage order."""
        shown = tuple(candidates)
        answers = (yield [Listwise(query, shown)]) if len(shown) > 1 else None
        answer = answers[0] if answers else None
        return by_order(shown if answer is None else [shown[i] for i in answer])
