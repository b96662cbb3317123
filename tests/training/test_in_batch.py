"""A batch as negatives: what is relevant to a query is none, and a text that comes twice counts once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.training.groups import Group
from rerankbench.training.in_batch import pooled
from rerankbench.types import Document, Query

CPU = torch.device("cpu")


def _group(name: str, *documents: tuple[str, str], positives: tuple[str, ...] = ()) -> Group:
    """The first document is relevant."""
    size = len(documents)
    return Group(
        query=Query(name, f"query {name}"),
        documents=tuple(Document(key, text) for key, text in documents),
        labels=tuple(float(i == 0) for i in range(size)),
        judged=(True,) * size,
        ranks=tuple(range(1, size + 1)),
        scores=tuple(1.0 / (i + 1) for i in range(size)),
        positives=frozenset({documents[0][0], *positives}),
    )


def test_relevant_documents_of_other_groups_are_no_negatives() -> None:
    own = [
        _group("q0", ("a", "A"), ("b", "B"), positives=("d",)),
        _group("q1", ("c", "C"), ("d", "D")),  # d is relevant to q0, though not in its group
        _group("q2", ("e", "A"), ("f", "F")),  # e is a copy of a
    ]
    batch = pooled(own, own, 0, CPU)
    assert batch.mask.tolist() == [
        [True, True, True, False, False, True],
        [True, True, True, True, False, True],  # of the two texts A, one
        [False, True, True, True, True, True],
    ]
    assert batch.labels.tolist() == [[1, 0, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]]
    assert batch.ranks[1].tolist() == [0, 0, 1, 2, 0, 0]
    assert batch.first_scores[2].tolist() == [0, 0, 0, 0, 1, 0.5]
    assert batch.teacher is None


def test_a_part_of_the_batch_has_the_rows_of_the_whole() -> None:
    own = [_group(f"q{i}", (f"d{i}", f"text {i}"), ("x", "shared")) for i in range(4)]
    whole, part = pooled(own, own, 0, CPU), pooled(own[2:], own, 2, CPU)
    for field in ("labels", "mask", "ranks", "first_scores"):
        assert torch.equal(getattr(part, field), getattr(whole, field)[2:]), field
    assert part.groups == tuple(own[2:])


def test_ids_are_those_of_one_training_set() -> None:
    first, second = _group("q0", ("0", "A"), ("1", "B")), _group("q1", ("1", "C"), ("0", "D"))
    second = replace(second, source="another")
    assert pooled([first, second], [first, second], 0, CPU).mask.all()


_DOCUMENTS = st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True)


@given(st.lists(_DOCUMENTS, min_size=1, max_size=5), st.sets(st.integers(0, 7), max_size=3))
def test_what_a_query_sees(rows: list[list[int]], relevant: set[int]) -> None:
    # Documents 2n and 2n + 1 are copies of each other.
    also = tuple(f"d{i}" for i in sorted(relevant))
    own = [_group(f"q{i}", *((f"d{d}", f"text {d // 2}") for d in row), positives=also) for i, row in enumerate(rows)]
    batch = pooled(own, own, 0, CPU)
    columns = [document for group in own for document in group.documents]
    start = 0
    for row, group in enumerate(own):
        mask = batch.mask[row].tolist()
        inside = range(start, start + len(group.documents))
        assert all(mask[i] for i in inside), "its own candidates are never masked"
        others = [columns[i] for i, seen in enumerate(mask) if seen and i not in inside]
        assert not {d.id for d in others} & group.positives
        assert not {d.text for d in others} & {d.text for d in group.documents}
        assert all(times == 1 for times in Counter(d.text for d in others).values())
        barred = {d.text for d in group.documents} | {d.text for d in columns if d.id in group.positives}
        assert {d.text for d in columns} - barred <= {d.text for d in others}, "nothing else is lost"
        start += len(group.documents)
