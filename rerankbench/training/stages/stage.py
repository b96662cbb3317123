"""What a stage gets to work with, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rerankbench.store import Store
from rerankbench.training.groups import Group
from rerankbench.training.sources import Source
from rerankbench.training.trainees.trainee import Trainee
from rerankbench.types import Qrels, Query


@dataclass
class Training:
    """One training as its stages see it. A stage trains `trainee.network` in place.

    sources: the training sets. dev: groups of the dev queries with all their candidates, empty for none. held_out:
    every query that must not be trained on. folder: where the run is recorded; a stage keeps its checkpoints in
    `folder/stages/<number>`. record: takes a line for the history. device: where networks run. bf16: whether the
    hardware is faster with it. writes: whether this process is the one that writes.
    """

    trainee: Trainee
    sources: Sequence[Source]
    dev: Sequence[Group]
    held_out: Sequence[Query]
    store: Store
    folder: Path
    seed: int
    device: Any
    bf16: bool
    record: Callable[[dict[str, Any]], None]
    forget: Callable[[int, int], None]
    """Cut the history of stage (number) behind a step: the training goes on from there."""
    dev_qrels: Qrels = field(default_factory=dict)
    kept: Mapping[str, tuple[Sequence[Group], Qrels]] = field(default_factory=dict)
    """Queries of other training sets with their judgments, measured after each stage, by the set's name."""
    writes: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    summary: list[dict[str, Any]] = field(default_factory=list)


class Stage(Protocol):
    """A configured stage."""

    def check(self, trainee: type) -> None:
        """Raises ConfigError for a kind of network (a class of Trainee) that the stage cannot train."""
        ...

    def run(self, training: Training, number: int) -> None:
        """Train the network in place. number: of this stage, from 0. Goes on where a killed one stopped."""
        ...
