"""Pseudo relevance feedback on vectors: the query moved towards its best documents (Li et al., arXiv 2108.11044)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class VectorPRF:
    """method: `average` of the query and its feedback; `rocchio`, alpha · query + beta · mean of the feedback.

    depth: how many documents are the feedback; where there are fewer, those. Without any the query stays as it is.
    """

    method: Literal["average", "rocchio"] = "rocchio"
    depth: Annotated[int, Ge(0)] = 5
    alpha: Annotated[float, Ge(0)] = 0.4
    beta: Annotated[float, Ge(0)] = 0.6

    def __post_init__(self) -> None:
        if self.alpha + self.beta == 0:
            raise ConfigError("alpha", "must be above 0 where beta is 0")

    def moved(self, query: Any, documents: Any) -> Any:
        """The new query [H], not normalised, of a query [H] and documents [N, H], best first; tensors or arrays."""
        feedback = documents[: self.depth]
        k = len(feedback)
        if not k:
            return query
        alpha, beta = (1 / (k + 1), k / (k + 1)) if self.method == "average" else (self.alpha, self.beta)
        return alpha * query + beta * feedback.mean(0)
