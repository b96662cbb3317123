"""Measures per query by trec_eval's definitions, computed by ranx on lists in their given order."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from rerankbench.errors import ConfigError, key_of, nearest
from rerankbench.types import Qrels, Run

if TYPE_CHECKING:
    import numpy as np

_RANX = {
    "ndcg": "ndcg",
    "mrr": "mrr",
    "map": "map",
    "p": "precision",
    "precision": "precision",
    "recall": "recall",
    "r_precision": "r-precision",
    "success": "hit_rate",
    "hit_rate": "hit_rate",
    "f1": "f1",
}
_CUTOFF_REQUIRED = {"p", "precision", "recall", "success", "hit_rate", "f1"}
_CUTOFF_REFUSED = {"r_precision"}
_F32_MAX = 0x7F7FFFFF
"""The bits of the largest finite float32, which are also its place in the order of float32 values."""


class Measure(Protocol):
    """A measure of one query's ranking that is not built in."""

    def __call__(self, ranking: Sequence[str], grades: Mapping[str, int], threshold: int) -> float:
        """The value. ranking: document ids, best first. grades: of the judged documents. threshold: see `per_query`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Measures:
    """The measures that are reported. own: measures by name that are not built in (configured nodes)."""

    names: Sequence[str]
    own: Mapping[str, Measure] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.names:
            raise ConfigError("names", "names no measure; try [ndcg@10]")
        for name in self.names:
            if name not in self.own:
                _parse(name, self.own)
        if repeated := sorted({name for name in self.names if list(self.names).count(name) > 1}):
            raise ConfigError("names", f"{repeated[0]!r} is there twice")

    def per_query(self, run: Run, qrels: Qrels, threshold: int) -> dict[str, dict[str, float]]:
        """Measure → query id → value, with a value for every query of `qrels`, in its order; see `per_query`."""
        values = per_query([name for name in self.names if name not in self.own], run, qrels, threshold)
        return {name: values[name] if name in values else self._own(name, run, qrels, threshold) for name in self.names}

    def _own(self, name: str, run: Run, qrels: Qrels, threshold: int) -> dict[str, float]:
        values = {}
        for query, grades in qrels.items():
            ranking = list(dict.fromkeys(document for document, _ in run.get(query, ())))
            values[query] = float(self.own[name](ranking, grades, threshold))
            if not math.isfinite(values[query]):
                raise ConfigError(key_of(self, f"own.{name}"), f"gave {values[query]} for query {query!r}")
        return values


def per_query(names: Sequence[str], run: Run, qrels: Qrels, threshold: int) -> dict[str, dict[str, float]]:
    """Measure → query id → value, with a value for every query of `qrels`, in its order.

    run: lists best first; their order counts, their scores do not. threshold: the grade from which a document is
    relevant in binary measures; nDCG takes the grades themselves (linear gain; negative grades count 0). A query
    without a ranking or without a relevant document has 0, as in trec_eval. Raises ConfigError for an unknown name.
    """
    parsed = {name: _parse(name) for name in names}
    values = {name: dict.fromkeys(qrels, 0.0) for name in names}
    # ranx fails on empty lists and unequal query sets (its issues 27, 39, 74), so it sees neither.
    # A document given twice counts once, at its better place.
    ids = {query: list(dict.fromkeys(document for document, _ in run.get(query, ()))) for query in qrels}
    queries = [query for query, grades in qrels.items() if ids[query] and max(grades.values(), default=0) > 0]
    if not queries or not names:
        return values

    import numpy as np
    from numba import NumbaWarning
    from numba.typed import List as TypedList
    from ranx.metrics import metric_switch  # ranx.evaluate itself fails on a single measure with a cutoff

    judged, ranked = TypedList(), TypedList()
    for query in queries:
        judged_array, ranked_array = _arrays(ids[query], qrels[query])
        judged.append(judged_array)
        ranked.append(ranked_array)
    for name, (measure, cutoff) in parsed.items():
        level = 1 if measure == "ndcg" else max(1, threshold)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NumbaWarning)  # about casts in ranx's own loops, when they compile
            scores = metric_switch(_RANX[measure])(judged, ranked, cutoff or 0, level)
        values[name].update(zip(queries, np.asarray(scores, dtype=float).tolist(), strict=True))
    return values


def judged_at(run: Run, qrels: Qrels, k: int = 10) -> dict[str, float]:
    """Query id → share of judged documents among its top k; queries of `qrels` without a ranking are left out."""
    shares = {}
    for query, grades in qrels.items():
        if top := run.get(query, [])[:k]:
            shares[query] = sum(document in grades for document, _ in top) / len(top)
    return shares


def strictly_decreasing(scores: Sequence[float]) -> list[float]:
    """The nearest float32 values that strictly decrease, so that any tool that sorts by them keeps the given order.

    A score not below the one before it moves to the next float32 value below. Raises ValueError for nan and infinity.
    """
    import numpy as np

    given = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(given).all():
        raise ValueError("a score is not finite")
    limit = float(np.finfo(np.float32).max)
    bits = np.clip(given, -limit, limit).astype(np.float32).view(np.int32).astype(np.int64)
    # Places in the order of float32 values: neighbouring values are neighbouring integers, both zeros are 0.
    places = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    index = np.arange(len(places))
    places = np.minimum.accumulate(places + index) - index if len(places) else places
    places = np.maximum(places, index[::-1] - _F32_MAX)  # leaves values below for those that follow
    bits = np.where(places < 0, -places | 0x80000000, places).astype(np.uint32)
    return [float(value) for value in bits.view(np.float32)]


def _parse(name: str, own: Collection[str] = ()) -> tuple[str, int | None]:
    """The measure and its cutoff. Raises ConfigError for a name that is neither built in nor among the user's own."""
    measure, at, cutoff = str(name).partition("@")
    examples = [*own, *(f"{m}@10" if at and m not in _CUTOFF_REFUSED else m for m in _RANX)]
    if measure not in _RANX:
        raise ConfigError("names", f"unknown measure {name!r}; {_nearest(name, measure, examples)}")
    if at and (measure in _CUTOFF_REFUSED or not re.fullmatch(r"[1-9]\d{0,8}", cutoff)):
        problem = "takes no cutoff" if measure in _CUTOFF_REFUSED else "needs a whole number from 1 after @"
        raise ConfigError("names", f"{name!r} {problem}")
    if not at and measure in _CUTOFF_REQUIRED:
        raise ConfigError("names", f"{name!r} needs a cutoff, such as {measure}@10")
    return measure, int(cutoff) if at else None


def _nearest(name: str, measure: str, examples: list[str]) -> str:
    """The nearest measure, whatever the case and separators of what was typed, with the cutoff that was typed."""
    plain = re.sub(r"[^a-z0-9]", "", measure.lower())
    if found := re.fullmatch(r"(.*?[a-z])(\d+)", plain):
        stem, cutoff = found[1], found[2]
    else:
        stem, cutoff = plain, name.partition("@")[2]
    for known in _RANX:
        if known.replace("_", "") == stem:
            return f"did you mean {known + (f'@{cutoff}' if cutoff else '')!r}?"
    return nearest(name, examples)


def _arrays(ids: Sequence[str], grades: dict[str, int]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Judgments and ranking as ranx holds them, (document number, value): [J, 2] and [R, 2], both best first.

    Numbers instead of ids: ranx would hash the ids into floats, which could collide.
    """
    import numpy as np

    numbers = {document: float(number) for number, document in enumerate({**grades, **dict.fromkeys(ids)})}
    best_first = sorted(grades.items(), key=lambda pair: -pair[1])
    judged = np.array([(numbers[document], max(0, grade)) for document, grade in best_first], dtype=np.float64)
    ranked = np.array([(numbers[document], -rank) for rank, document in enumerate(ids)], dtype=np.float64)
    return judged, ranked
