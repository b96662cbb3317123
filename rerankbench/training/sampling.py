"""Groups drawn from training sets: positives with negatives, redrawn every epoch, the same in every process."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rerankbench.errors import ConfigError
from rerankbench.store import Store
from rerankbench.training.groups import Group
from rerankbench.training.negatives import Context, Sampler, TopK
from rerankbench.training.sources import Material, Source, load, stable_seed
from rerankbench.training.teacher import Scores, Teacher
from rerankbench.types import Query


@dataclass(frozen=True, kw_only=True)
class GroupOptions:
    """How groups are made.

    size: candidates of a group, positives included. per: a group for each `positive` (the query's others stay out) or
    for each `query` (all its positives go in, a sample of them where fewer than one place would be left for negatives).
    in_batch: the other groups of a batch give negatives, too; size may then be 1. teacher: scores for distillation and
    for samplers that compare. duplicates: what becomes of training queries that are dev or test queries, too. sample:
    so many queries of each training set, drawn with the seed; null: all.
    """

    size: int = 4
    per: Literal["positive", "query"] = "positive"
    negatives: Sampler = field(default_factory=TopK)
    in_batch: bool = False
    teacher: Teacher | None = None
    duplicates: Literal["error", "drop"] = "error"
    sample: int | None = None

    def __post_init__(self) -> None:
        least = 1 if self.in_batch else 2
        if self.size < least:
            raise ConfigError("size", f"must be at least {least}, got {self.size}")
        if self.sample is not None and self.sample < 1:
            raise ConfigError("sample", f"must be at least 1, or null for all; got {self.sample}")
        needs = self.negatives.needs()
        if self.in_batch and self.teacher is not None and not needs.teacher:
            raise ConfigError("teacher", "is of no use with in_batch=true: it scores no other query's candidates")
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
        where nothing is left to learn from.
        """
        counts: Counter[str] = Counter()
        sources = [source for source in sources if source.weight]
        needs = self.negatives.needs()
        depth = max(needs.depth, (self.teacher.reach() or 0) if self.teacher is not None else 0)
        materials = [
            load(source, held_out, self.duplicates, self.sample, depth, needs.pool, seed, counts) for source in sources
        ]
        names = " and ".join(material.name for material in materials)
        if not any(material.queries for material in materials):
            raise ConfigError("recipe.groups", f"no query of {names} can be trained on ({_shown(counts)})")
        scores: Sequence[Scores | None] = [None] * len(materials)
        if self.teacher is not None:
            scores = self.teacher.scores(materials, store, folder, counts)
        decks = [
            _deck(material, taught, self.per, source.weight, depth, counts)
            for source, material, taught in zip(sources, materials, scores, strict=True)
        ]
        groups = SampledGroups(self, decks, seed, counts)
        if not groups.count_first_pass() and not (self.in_batch and len(groups)):
            problem = f"no group of {names} has both a positive and a negative ({_shown(counts)})"
            raise ConfigError("recipe.groups", problem)
        return groups


@dataclass(frozen=True, slots=True)
class _Card:
    """What one group is drawn from: its positives, and the query they belong to. key: what its draws depend on."""

    context: Context
    positives: tuple[str, ...]
    key: str


@dataclass(frozen=True)
class _Deck:
    """The groups that a training set has. size: how many of them an epoch takes."""

    material: Material
    cards: tuple[_Card, ...]
    size: int

    def dealt(self, seed: int, epoch: int) -> list[tuple[int, int]]:
        """The cards of an epoch, with the times they came before. All come once before one comes again."""
        dealt: list[tuple[int, int]] = []
        start = epoch * self.size
        while (place := start + len(dealt)) < start + self.size:
            cycle, begin = divmod(place, len(self.cards))
            order = list(range(len(self.cards)))
            random.Random(stable_seed(seed, "order", self.material.name, cycle)).shuffle(order)
            dealt += [(card, cycle) for card in order[begin : begin + self.size - len(dealt)]]
        return dealt


class SampledGroups:
    """Groups of several training sets, an epoch in shuffled order."""

    def __init__(self, options: GroupOptions, decks: Sequence[_Deck], seed: int, counts: Counter[str]) -> None:
        self.options = options
        self._decks = [deck for deck in decks if deck.cards]
        self._seed = seed
        self._counts = counts
        self._length = sum(deck.size for deck in self._decks)
        self._orders: dict[int, list[tuple[int, int, int]]] = {}

    def __len__(self) -> int:
        """Groups in an epoch."""
        return self._length

    def group(self, epoch: int, index: int) -> Group:
        """The same group for the same seed, epoch and index, in whatever process or order it is asked."""
        deck, card, cycle = self._order(epoch)[index]
        return self._draw(self._decks[deck].material, self._decks[deck].cards[card], cycle)

    @property
    def counts(self) -> dict[str, int]:
        """What was dropped, missing or assumed; of groups, in a first pass through all of them."""
        return dict(sorted(self._counts.items()))

    @property
    def texts(self) -> list[str]:
        """All texts that groups may show, queries and documents, each once."""
        found: dict[str, None] = {}
        for deck in self._decks:
            found.update((query.text, None) for query in deck.material.queries)
            found.update((document.text, None) for document in deck.material.documents.values())
        return list(found)

    def count_first_pass(self) -> int:
        """Draw every group once and count what it lacks; how many have both a positive and a negative."""
        counts, judged, unjudged, useful = self._counts, 0, 0, 0
        counts["groups_with_too_few_negatives"] += 0
        for deck in self._decks:
            counts["groups"] += len(deck.cards)
            if len(self._decks) > 1:
                counts[f"groups_of_{deck.material.name}"] += len(deck.cards)
            for context in {card.context.query.id: card.context for card in deck.cards}.values():
                counts["refused_as_false_negatives"] += self.options.negatives.refused(context)
            for card in deck.cards:
                group = self._draw(deck.material, card, 0)
                negatives = [known for label, known in zip(group.labels, group.judged, strict=True) if label == 0]
                judged += sum(negatives)
                unjudged += len(negatives) - sum(negatives)
                useful += bool(negatives)
                counts["groups_with_too_few_negatives"] += len(group.documents) < self.options.size
        counts.update(judged_negatives=judged, unjudged_negatives=unjudged)
        counts["unjudged_negatives_percent"] = round(100 * unjudged / max(judged + unjudged, 1))
        return useful

    def _order(self, epoch: int) -> list[tuple[int, int, int]]:
        """What an epoch deals: deck, card, and how often the card came before."""
        order = self._orders.get(epoch)
        if order is None:
            dealt = ((place, deck.dealt(self._seed, epoch)) for place, deck in enumerate(self._decks))
            order = [(place, card, cycle) for place, cards in dealt for card, cycle in cards]
            random.Random(stable_seed(self._seed, "epoch", epoch)).shuffle(order)
            if len(self._orders) > 1:  # the epoch at hand and the next are enough
                self._orders.clear()
            self._orders[epoch] = order
        return order

    def _draw(self, material: Material, card: _Card, cycle: int) -> Group:
        context, size = card.context, self.options.size
        rng = random.Random(stable_seed(self._seed, cycle, material.name, card.key))
        positives: Sequence[str] = card.positives
        if len(positives) > max(size - 1, 1):
            positives = rng.sample(positives, max(size - 1, 1))
        members = [*positives, *self.options.negatives.draw(context, size - len(positives), rng)]
        rng.shuffle(members)
        places = {document: place for place, document in enumerate(context.ranked)}
        found = [places.get(document, -1) for document in members]
        return Group(
            query=context.query,
            documents=tuple([material.documents[document] for document in members]),
            labels=tuple([float(max(context.grades.get(document, 0), 0)) for document in members]),
            judged=tuple([document in context.grades for document in members]),
            ranks=tuple([place + 1 for place in found]),
            scores=tuple([context.scores[place] if place >= 0 else 0.0 for place in found]),
            teacher=None if context.teacher is None else tuple([context.teacher[document] for document in members]),
            first_stage=context.scores,
            positives=context.never,
            source=material.name,
        )


def _deck(
    material: Material,
    taught: Scores | None,
    per: Literal["positive", "query"],
    weight: float,
    depth: int,
    counts: Counter[str],
) -> _Deck:
    cards = []
    for query in material.queries:
        positives = material.positives[query.id]
        teacher = None if taught is None else taught.get(query.id, {})
        ranked = tuple(document for document, _ in material.first_stage.get(query.id, ()))
        grades, never = material.grades[query.id], material.never[query.id]
        absent = {document for document in (*ranked[:depth], *grades) if document not in material.documents}
        context = Context(
            query=query,
            ranked=ranked,
            scores=tuple(score for _, score in material.first_stage.get(query.id, ())),
            grades=grades,
            positives=positives,
            never=never,
            barred=never | absent,
            teacher=teacher,
            pool=material.pool,
        )
        scored = positives if teacher is None else tuple(d for d in positives if d in teacher)
        counts["positives_without_teacher_score"] += len(positives) - len(scored)
        if per == "positive":
            cards += [_Card(context, (document,), f"{query.id}\x1f{document}") for document in scored]
        elif scored:
            cards.append(_Card(context, scored, query.id))
    return _Deck(material, tuple(cards), max(1, round(weight * len(cards))))


def _shown(counts: Counter[str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in sorted(counts.items()) if count) or "empty"
