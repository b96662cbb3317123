"""What an evaluation and a training measured, typed; `to_json` and `from_json` are the records in the run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple, Self

from rerankbench.usage import Usage


@dataclass(frozen=True, slots=True)
class QueryValues:
    """One measure of one query: a row of `per_query.csv`."""

    query: str
    measure: str
    first_stage: float
    reranked: float
    difference: float


@dataclass(frozen=True)
class Comparison:
    """The mean of one measure before and after, and paired tests of the difference (see `significance.paired`).

    before: of the first stage, or of the reranker before its training. after: of the reranker.
    """

    before: float
    after: float
    difference: float
    ci95: Sequence[float]
    p_ttest: float
    p_randomization: float

    def to_json(self, before: str = "first_stage", after: str | None = "reranked") -> dict[str, Any]:
        """The record, the two means under these names; None leaves the second out."""
        tests = asdict(self)
        first, second = tests.pop("before"), tests.pop("after")
        return {before: first, **({after: second} if after else {}), **tests}

    @classmethod
    def from_json(cls, row: Mapping[str, Any], before: str = "first_stage", after: str | float = "reranked") -> Self:
        """The record again. after: the name of the second mean, or that mean itself."""
        tests = {name: row[name] for name in ("difference", "ci95", "p_ttest", "p_randomization")}
        return cls(row[before], row[after] if isinstance(after, str) else after, **tests)


class Judged(NamedTuple):
    """The mean share of judged documents among the top 10."""

    first_stage: float = 0.0
    reranked: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Composition:
    """A trained reranker with other adapters than its own, compared with it measure by measure."""

    adapters: Sequence[str | Sequence[str]]
    queries_with_constant_scores: int
    measures: Mapping[str, Comparison]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record again."""
        measures = {name: Comparison.from_json(row, "zero_shot", "composed") for name, row in data["measures"].items()}
        constant = data["queries_with_constant_scores"]
        return cls(adapters=data["adapters"], queries_with_constant_scores=constant, measures=measures)


@dataclass(frozen=True, kw_only=True)
class StageSummary:
    """What one stage of a training reports. items: groups, or passages. figures: all it reports, these included."""

    items: int = 0
    steps: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    best_dev: float | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Of what the stage reports."""
        known = {name: data[name] for name in ("steps", "seconds", "best_step", "best_dev") if name in data}
        return cls(items=data.get("groups", data.get("passages", 0)), figures=data, **known)


@dataclass(frozen=True, kw_only=True)
class TrainingSummary:
    """What a training reports. last: its last stage. counts: what was odd or left out."""

    last: StageSummary
    stages: Sequence[StageSummary]
    counts: Mapping[str, int]
    dev_measure: str = "ndcg@10"

    def to_json(self) -> dict[str, Any]:
        """The record: the last stage's figures, then the rest."""
        stages = [stage.figures for stage in self.stages]
        return {**self.last.figures, "dev_measure": self.dev_measure, "stages": stages, "counts": self.counts}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record again."""
        own = {name: data[name] for name in ("dev_measure",) if name in data}
        last = {name: value for name, value in data.items() if name not in ("dev_measure", "stages", "counts")}
        stages = [StageSummary.from_json(stage) for stage in data.get("stages", ())]
        return cls(last=StageSummary.from_json(last), stages=stages, counts=data.get("counts") or {}, **own)


_METRICS_KEYS = {"schema", "queries", "measures", "judged@10", "missing", "untrained", "untrained_reason", "training"}


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """`metrics.json`. missing: counts of what was odd or left out.

    untrained, untrained_reason, stage_figures, training: of a training only. untrained: the reranker before its
    training compared with after it; None where it could not rank, for the reason. stage_figures: what stages add to the
    record, by key.
    """

    FILE: ClassVar = "metrics.json"
    SCHEMA: ClassVar = 1

    queries: int
    measures: Mapping[str, Comparison]
    judged: Judged = field(default_factory=Judged)
    missing: Mapping[str, int] = field(default_factory=dict)
    untrained: Mapping[str, Comparison] | None = None
    untrained_reason: str | None = None
    stage_figures: Mapping[str, Any] = field(default_factory=dict)
    training: TrainingSummary | None = None

    def to_json(self) -> dict[str, Any]:
        """The record."""
        record: dict[str, Any] = {
            "queries": self.queries,
            "measures": {name: row.to_json() for name, row in self.measures.items()},
            "judged@10": self.judged._asdict(),
            "missing": self.missing,
        }
        if self.training is None:
            return record
        if self.untrained is None:
            record.update(untrained=None, untrained_reason=self.untrained_reason)
        else:
            record["untrained"] = {name: row.to_json("untrained", None) for name, row in self.untrained.items()}
        return {**record, **self.stage_figures, "training": self.training.to_json()}

    @property
    def compositions(self) -> dict[str, Composition]:
        """The compositions that language stages measured, by name."""
        return {n: Composition.from_json(one) for n, one in (self.stage_figures.get("compositions") or {}).items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record again."""
        measures = {name: Comparison.from_json(row) for name, row in data["measures"].items()}
        untrained, training = data.get("untrained"), data.get("training")
        if untrained is not None:
            untrained = {n: Comparison.from_json(row, "untrained", measures[n].after) for n, row in untrained.items()}
        return cls(
            queries=data["queries"],
            measures=measures,
            judged=Judged(**data.get("judged@10", {})),
            missing=data.get("missing", {}),
            untrained=untrained,
            untrained_reason=data.get("untrained_reason"),
            stage_figures={key: value for key, value in data.items() if key not in _METRICS_KEYS},
            training=None if training is None else TrainingSummary.from_json(training),
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """`cost.json`. seconds: by phase. usage: of all scorers. query_seconds: percentiles. failures, repairs: by kind."""

    FILE: ClassVar = "cost.json"
    SCHEMA: ClassVar = 1

    seconds: Mapping[str, float]
    documents: int = 0
    documents_per_second: float = 0.0
    requests: int = 0
    rounds: int = 0
    cache_hits: int = 0
    parse_failures: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    repairs: Mapping[str, int] = field(default_factory=dict)
    usage: Usage = field(default_factory=Usage)
    query_seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    peak_cuda_memory_mb: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The record, the counts of the usage among the others."""
        record: dict[str, Any] = {}
        for name, value in vars(self).items():
            record.update(asdict(value) if name == "usage" else {name: value})
        return record

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record again."""
        usage = Usage(**{f.name: data[f.name] for f in fields(Usage) if f.name in data})
        return cls(usage=usage, **{f.name: data[f.name] for f in fields(cls) if f.name in data})
