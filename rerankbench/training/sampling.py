"""Groups drawn from training sets: positives with negatives, redrawn every epoch, the same in every process."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of
from rerankbench.store import Store
from rerankbench.training.groups import Group
from rerankbench.training.negatives import Context, Sampler, TopK
from rerankbench.training.sources import PreparedSource, Source, prepare, stable_seed
from rerankbench.training.teacher import Scores, Teacher
from rerankbench.types import Query


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """How groups are made.

    size: candidates of a group, positives included. per: a group for each `positive` (without the query's others) or
    for each `query` (with all its positives, or a sample of them that leaves at least one place for negatives).
    in_batch: the other groups of a batch give negatives, too; size may then be 1. teacher: scores for distillation and
    for samplers that compare. duplicates: what happens to training queries that are dev or test queries, too. sample:
    how many queries of each training set, drawn with the seed; null: all.
    """

    size: Annotated[int, Ge(1)] = 4
    per: Literal["positive", "query"] = "positive"
    negatives: Sampler = field(default_factory=TopK)
    in_batch: bool = False
    teacher: Teacher | None = None
    duplicates: Literal["error", "drop"] = "error"
    sample: Annotated[int, Ge(1)] | None = None

    def __post_init__(self) -> None:
        if self.size < 2 and not self.in_batch:
            raise ConfigError("size", f"must be at least 2 without in_batch, got {self.size}")
        needs = self.negatives.needs()
        if self.in_batch and self.teacher is not None and not needs.teacher:
            raise ConfigError("teacher", "has no effect with in_batch=true: it scores no other query's candidates")
        if needs.teacher and self.teacher is None:
            raise ConfigError("teacher", "must be given: the negatives are chosen by its scores")
        reach = self.teacher.reach() if self.teacher is not None else None
        if reach is not None and reach < needs.depth:
            problem = f"scores the top {reach}, but negatives come from the top {needs.depth}; set depth={needs.depth}"
            raise ConfigError("teacher", problem)

    def build(
        self, sources: Sequence[Source], held_out: Sequence[Query], store: Store, seed: int, folder: Path
    ) -> SampledGroups:
        """The groups of these training sets; the texts are read once, and a teacher's scores written to `folder`.

        held_out: all queries of dev and test. Raises ConfigError for held-out queries among the training queries, and
        where no query or no negative is left.
        """
        counts: Counter[str] = Counter()
        sources = [source for source in sources if source.weight]
        needs = self.negatives.needs()
        depth = max(needs.depth, (self.teacher.reach() or 0) if self.teacher is not None else 0)
        options = (self.duplicates, self.sample, depth, needs.pool, seed, counts, key_of(self, "duplicates"))
        prepared = [prepare(source, held_out, *options) for source in sources]
        names = " and ".join(source.name for source in prepared)
        if not any(source.queries for source in prepared):
            raise ConfigError(key_of(self, ""), f"no query of {names} can be trained on ({_shown(counts)})")
        scores: Sequence[Scores | None] = [None] * len(prepared)
        if self.teacher is not None:
            scores = self.teacher.scores(prepared, store, folder, counts)
        schedules = [
            _schedule(prepared_source, teacher_scores, self.per, source.weight, depth, counts)
            for source, prepared_source, teacher_scores in zip(sources, prepared, scores, strict=True)
        ]
        groups = SampledGroups(self, schedules, seed, counts)
        if not groups.count_first_pass() and not (self.in_batch and len(groups)):
            problem = f"no group of {names} has both a positive and a negative ({_shown(counts)})"
            raise ConfigError(key_of(self, ""), problem)
        return groups


@dataclass(frozen=True, slots=True)
class _GroupSpec:
    """What one group is drawn from: its positives, and the query they belong to. key: what its draws depend on."""

    context: Context
    positives: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class _Schedule:
    """The groups of a training set, and how many of them an epoch takes (`size`)."""

    source: PreparedSource
    specs: tuple[_GroupSpec, ...]
    size: int

    def epoch(self, seed: int, epoch: int) -> list[tuple[int, int]]:
        """The groups of an epoch by index, and how often each came before; all come once before one comes again."""
        scheduled: list[tuple[int, int]] = []
        start = epoch * self.size
        while (position := start + len(scheduled)) < start + self.size:
            cycle, begin = divmod(position, len(self.specs))
            order = list(range(len(self.specs)))
            random.Random(stable_seed(seed, "order", self.source.name, cycle)).shuffle(order)
            scheduled += [(spec, cycle) for spec in order[begin : begin + self.size - len(scheduled)]]
        return scheduled


class SampledGroups:
    """Groups of several training sets, an epoch in shuffled order."""

    def __init__(self, options: GroupOptions, schedules: Sequence[_Schedule], seed: int, counts: Counter[str]) -> None:
        self.options = options
        self._schedules = [schedule for schedule in schedules if schedule.specs]
        self._seed = seed
        self._counts = counts
        self._length = sum(schedule.size for schedule in self._schedules)
        self._orders: dict[int, list[tuple[int, int, int]]] = {}

    def __len__(self) -> int:
        """Groups in an epoch."""
        return self._length

    def group(self, epoch: int, index: int) -> Group:
        """A pure function of seed, epoch and index, in any process and order of calls."""
        schedule, spec, cycle = self._order(epoch)[index]
        return self._draw(self._schedules[schedule].source, self._schedules[schedule].specs[spec], cycle)

    @property
    def counts(self) -> dict[str, int]:
        """What was dropped, missing or assumed; of groups, in a first pass through all of them."""
        return dict(sorted(self._counts.items()))

    @property
    def texts(self) -> list[str]:
        """All texts that groups may contain, queries and documents, each once."""
        texts: dict[str, None] = {}
        for schedule in self._schedules:
            texts.update((query.text, None) for query in schedule.source.queries)
            texts.update((document.text, None) for document in schedule.source.documents.values())
        return list(texts)

    def count_first_pass(self) -> int:
        """Draw every group once and count what it lacks; how many have both a positive and a negative."""
        counts, judged, unjudged, complete = self._counts, 0, 0, 0
        counts["groups_with_too_few_negatives"] += 0
        for schedule in self._schedules:
            counts["groups"] += len(schedule.specs)
            if len(self._schedules) > 1:
                counts[f"groups_of_{schedule.source.name}"] += len(schedule.specs)
            for context in {spec.context.query.id: spec.context for spec in schedule.specs}.values():
                counts["refused_as_false_negatives"] += self.options.negatives.refused(context)
            for spec in schedule.specs:
                group = self._draw(schedule.source, spec, 0)
                negatives = [known for label, known in zip(group.labels, group.judged, strict=True) if label == 0]
                judged += sum(negatives)
                unjudged += len(negatives) - sum(negatives)
                complete += bool(negatives)
                counts["groups_with_too_few_negatives"] += len(group.documents) < self.options.size
        counts.update(judged_negatives=judged, unjudged_negatives=unjudged)
        counts["unjudged_negatives_percent"] = round(100 * unjudged / max(judged + unjudged, 1))
        return complete

    def _order(self, epoch: int) -> list[tuple[int, int, int]]:
        """The groups of an epoch: schedule, group in it, and how often the group came before."""
        order = self._orders.get(epoch)
        if order is None:
            epochs = ((i, schedule.epoch(self._seed, epoch)) for i, schedule in enumerate(self._schedules))
            order = [(i, spec, cycle) for i, scheduled in epochs for spec, cycle in scheduled]
            random.Random(stable_seed(self._seed, "epoch", epoch)).shuffle(order)
            if len(self._orders) > 1:  # the current epoch and the next are enough
                self._orders.clear()
            self._orders[epoch] = order
        return order

    def _draw(self, source: PreparedSource, spec: _GroupSpec, cycle: int) -> Group:
        context, size = spec.context, self.options.size
        rng = random.Random(stable_seed(self._seed, cycle, source.name, spec.key))
        positives: Sequence[str] = spec.positives
        if len(positives) > max(size - 1, 1):
            positives = rng.sample(positives, max(size - 1, 1))
        members = [*positives, *self.options.negatives.draw(context, size - len(positives), rng)]
        rng.shuffle(members)
        positions = {document: position for position, document in enumerate(context.ranked)}
        listed = [positions.get(document, -1) for document in members]
        return Group(
            query=context.query,
            documents=tuple([source.documents[document] for document in members]),
            labels=tuple([float(max(context.grades.get(document, 0), 0)) for document in members]),
            judged=tuple([document in context.grades for document in members]),
            ranks=tuple([position + 1 for position in listed]),
            scores=tuple([context.scores[position] if position >= 0 else 0.0 for position in listed]),
            teacher=None if context.teacher is None else tuple([context.teacher[document] for document in members]),
            first_stage=context.scores,
            positives=context.known_positives,
            source=source.name,
        )


def _schedule(
    source: PreparedSource,
    teacher_scores: Scores | None,
    per: Literal["positive", "query"],
    weight: float,
    depth: int,
    counts: Counter[str],
) -> _Schedule:
    specs = []
    for query in source.queries:
        positives = source.positives[query.id]
        teacher = None if teacher_scores is None else teacher_scores.get(query.id, {})
        ranked = tuple(document for document, _ in source.first_stage.get(query.id, ()))
        grades, known_positives = source.grades[query.id], source.known_positives[query.id]
        textless = {document for document in (*ranked[:depth], *grades) if document not in source.documents}
        context = Context(
            query=query,
            ranked=ranked,
            scores=tuple(score for _, score in source.first_stage.get(query.id, ())),
            grades=grades,
            positives=positives,
            known_positives=known_positives,
            excluded=known_positives | textless,
            teacher=teacher,
            pool=source.pool,
        )
        scored = positives if teacher is None else tuple(d for d in positives if d in teacher)
        counts["positives_without_teacher_score"] += len(positives) - len(scored)
        if per == "positive":
            specs += [_GroupSpec(context, (document,), f"{query.id}\x1f{document}") for document in scored]
        elif scored:
            specs.append(_GroupSpec(context, scored, query.id))
    return _Schedule(source, tuple(specs), max(1, round(weight * len(specs))))


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in sorted(counts.items()) if count) or "empty"
