"""A run folder read as typed records: its configuration, what was measured, what it cost, what it ran on."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from rerankbench.errors import DataError
from rerankbench.evaluation.records import Cost, Metrics, QueryValues
from rerankbench.tracking.history import HISTORY_FILE, Entry, read_history
from rerankbench.tracking.run_folder import Record, read_config, read_json

ANALYSES = "analysis"
"""The folder of what analyses found, inside the run folder."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """`environment.json`: the machine and the code (see `environment.environment`), the data and the models.

    benchmark: name, split, description, fingerprint. scorers: fingerprints. choices: option by group, such as
    `retriever`, `reranker/strategy`, or `model@reranker.scorer.model` for a group at another place than its own.
    """

    FILE: ClassVar = "environment.json"
    SCHEMA: ClassVar = 1

    rerankbench: str = ""
    git: Mapping[str, Any] | None = None
    python: str = ""
    platform: str = ""
    cpu: Mapping[str, Any] = field(default_factory=dict)
    memory_mb: int | None = None
    gpus: Sequence[str] = ()
    packages: Mapping[str, str] = field(default_factory=dict)
    benchmark: Mapping[str, Any] = field(default_factory=dict)
    scorers: Sequence[str | None] = ()
    models: Sequence[Mapping[str, Any]] = ()
    choices: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The record again."""
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """That of a run folder. Raises DataError."""
        return _read(cls, folder)

    def choice(self, group: str) -> str | None:
        """The option chosen of a group, wherever it was placed; None where there is none."""
        found = (option for name, option in self.choices.items() if name.partition("@")[0] == group)
        return next((option for option in found if option not in ("None", "null")), None)


class Estimate(NamedTuple):
    """A number with its 95% interval."""

    value: float
    ci95: tuple[float, float]


Figure = float | Estimate


@dataclass(frozen=True, kw_only=True)
class AnalysisResult:
    """What an analysis found: figures by name, a table, and pictures (files below the context's folder)."""

    SCHEMA: ClassVar = 1

    figures: Mapping[str, Figure] = field(default_factory=dict)
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()
    pictures: Sequence[Path] = ()

    def to_json(self, folder: Path) -> dict[str, Any]:
        """The record, the pictures' paths relative to the run folder."""
        figures = {n: f._asdict() if isinstance(f, Estimate) else f for n, f in self.figures.items()}
        pictures = [path.relative_to(folder).as_posix() for path in self.pictures]
        return {"schema": self.SCHEMA, **vars(self), "figures": figures, "pictures": pictures}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], folder: Path) -> Self:
        """The record again."""
        figures = {
            name: Estimate(figure["value"], tuple(figure["ci95"])) if isinstance(figure, Mapping) else figure
            for name, figure in data["figures"].items()
        }
        pictures = [folder / name for name in data["pictures"]]
        return cls(figures=figures, columns=data["columns"], rows=data["rows"], pictures=pictures)


@dataclass(frozen=True)
class RunRecord:
    """A finished run folder."""

    folder: Path
    config: Mapping[str, Any]
    metrics: Metrics
    cost: Cost
    environment: Environment

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the records. Raises DataError for one that is absent, broken, or of a newer rerankbench."""
        return cls(folder, read_config(folder), _read(Metrics, folder), _read(Cost, folder), _read(Environment, folder))

    @cached_property
    def per_query(self) -> list[QueryValues]:
        """The values of each query and measure."""
        with (self.folder / "per_query.csv").open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)
            next(rows)
            return [QueryValues(query, measure, *map(float, values)) for query, measure, *values in rows]

    @cached_property
    def history(self) -> list[Entry]:
        """What a training logged; nothing for an evaluation."""
        return read_history(self.folder / HISTORY_FILE)[0]

    @cached_property
    def analyses(self) -> dict[str, AnalysisResult]:
        """What each analysis of the configuration found."""
        names = self.config.get("analysis") or {}
        found = ((name, read_json(self.folder, f"{ANALYSES}/{name}.json", AnalysisResult.SCHEMA)) for name in names)
        return {name: AnalysisResult.from_json(data, self.folder) for name, data in found}


class _Readable(Record, Protocol):
    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self: ...


R = TypeVar("R", bound=_Readable)


def _read(kind: type[R], folder: Path) -> R:
    data = read_json(folder, kind.FILE, kind.SCHEMA)
    try:
        return kind.from_json(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(folder / kind.FILE, f"is not such a record ({type(error).__name__}: {error})") from error
