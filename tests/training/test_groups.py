"""Groups: what is in them, that every process draws the same, and that all that was left out is counted."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError, tell_place
from rerankbench.training.groups import Group, batch_of, in_rows, requests_of
from rerankbench.training.negatives import Bottom, Judged, Mixed, Random, Sampler, TopK, Window
from rerankbench.training.sampling import GroupOptions
from rerankbench.training.sources import candidate_groups
from rerankbench.types import Document, Qrels, Query
from tests.training.world import CountingCorpus, built, source

ROOT = Path(__file__).resolve().parents[2]
THREE: Qrels = {"a": {"d1": 1, "d7": 2, "d3": 0}, "b": {"d2": 1}, "c": {"d9": 1, "d50": 1}}


def _ids(group: Group) -> list[str]:
    return [document.id for document in group.documents]


def _relevant(group: Group) -> list[str]:
    return [document.id for document, label in zip(group.documents, group.labels, strict=True) if label > 0]


def _epoch(groups: object, epoch: int) -> list[Group]:
    return [groups.group(epoch, i) for i in range(len(groups))]  # type: ignore[arg-type,attr-defined]


def test_a_group_for_each_positive_holds_no_other_positive() -> None:
    groups = built(GroupOptions(size=5), source(THREE))
    found = _epoch(groups, 0)
    assert sorted((g.query.id, *_relevant(g)) for g in found) == [
        ("a", "d1"), ("a", "d7"), ("b", "d2"), ("c", "d50"), ("c", "d9"),
    ]  # fmt: skip
    assert all(len(set(_ids(group))) == 5 for group in found)


def test_a_group_for_each_query_holds_its_positives_and_keeps_a_place_for_a_negative() -> None:
    many: Qrels = {"a": {f"d{i}": 1 for i in range(6)}, "b": {"d2": 1, "d3": 1}, "c": {f"d{i}": 1 for i in range(4)}}
    groups = built(GroupOptions(size=4, per="query"), source(many))
    seen: set[str] = set()
    for epoch in range(30):
        by_query = {group.query.id: group for group in _epoch(groups, epoch)}
        assert sorted(_relevant(by_query["b"])) == ["d2", "d3"]
        assert len(_relevant(by_query["a"])) == len(_relevant(by_query["c"])) == 3
        seen.update(_relevant(by_query["a"]))
    assert seen == set(many["a"]), "those that are cut are not always the same"


def test_labels_ranks_and_scores_are_those_of_the_first_stage_and_the_judgments() -> None:
    ranked = {"a": [f"d{i}" for i in range(20)]}
    qrels: Qrels = {"a": {"d4": 3, "d60": 1, "d5": 0, "d6": -2}}
    groups = built(GroupOptions(size=20, per="query", negatives=TopK(k=30)), source(qrels, ranked))
    (group,) = _epoch(groups, 0)
    assert len(group.documents) == 20, "d60 and 19 of the list: all but d4 are negatives, and d4 is there"
    rows = zip(_ids(group), group.labels, group.judged, group.ranks, group.scores, strict=True)
    for document, label, judged, rank, score in rows:
        place = int(document[1:])
        assert label == max(qrels["a"].get(document, 0), 0)
        assert judged == (document in qrels["a"])
        assert (rank, score) == ((0, 0.0) if place == 60 else (place + 1, 1 / (place + 1)))
    assert group.first_stage == tuple(1 / rank for rank in range(1, 21))
    assert group.positives == {"d4", "d60"}
    assert (group.source, group.teacher) == ("toy", None)


SAMPLERS: list[Sampler] = [
    TopK(k=7), Window(first=3, last=9), Bottom(m=4, k=10), Random(pool=12), Judged(),
    Mixed(samplers=[TopK(k=5), Random(pool=6)], weights=[0.7, 0.3]),
]  # fmt: skip


@given(
    grades=st.dictionaries(
        st.sampled_from("abc"),
        st.dictionaries(st.integers(0, 14).map("d{}".format), st.integers(-1, 2), min_size=1),
        min_size=1,
    ),
    texts=st.dictionaries(st.integers(0, 14).map("d{}".format), st.sampled_from(["same", "Same. ", "other"])),
    sampler=st.sampled_from(SAMPLERS),
    size=st.integers(2, 6),
    per=st.sampled_from(["positive", "query"]),
    seed=st.integers(0, 5),
    threshold=st.integers(1, 2),
)
def test_nothing_relevant_is_ever_a_negative(
    grades: Qrels, texts: dict[str, str], sampler: Sampler, size: int, per: str, seed: int, threshold: int
) -> None:
    options = GroupOptions(size=size, per=per, negatives=sampler)  # type: ignore[arg-type]
    training_set = source(grades, texts=texts, documents=15, threshold=threshold)
    try:
        groups = built(options, training_set, seed=seed)
    except ConfigError:
        return
    plain = {f"d{i}": texts.get(f"d{i}", f"text of d{i}").strip(" .").casefold() for i in range(15)}
    short = 0
    for group in _epoch(groups, 0):
        judged = grades[group.query.id]
        good = {document for document, grade in judged.items() if grade > 0}
        inside = set(_relevant(group))
        assert inside and all(judged[document] >= threshold for document in inside)
        assert len(inside) == 1 or per == "query"
        negatives = set(_ids(group)) - inside
        assert not negatives & good
        assert not {plain[document] for document in negatives} & {plain[document] for document in good}
        assert len(_ids(group)) == len(set(_ids(group))) <= size
        short += len(_ids(group)) < size
    assert groups.counts["groups_with_too_few_negatives"] == short


def test_what_is_relevant_to_the_same_question_is_no_negative() -> None:
    training_set = source({"a": {"d0": 1}, "b": {"d1": 1, "d2": 1}, "c": {"d3": 1}}, documents=6)
    a, b, c = training_set.benchmark.queries
    asked = (a, Query(b.id, "What is  a"), c)
    groups = built(
        GroupOptions(size=6), replace(training_set, benchmark=replace(training_set.benchmark, queries=asked))
    )
    for group in _epoch(groups, 0):
        excluded = {"a": {"d1", "d2"}, "b": {"d0"}, "c": set()}[group.query.id]
        assert not excluded & set(_ids(group))
        assert excluded <= group.positives, "and in the batch neither"


def test_another_process_draws_the_same() -> None:
    code = (
        "from tests.training.test_groups import THREE, _ids\n"
        "from tests.training.world import built, source\n"
        "from rerankbench.training.negatives import Mixed\n"
        "from rerankbench.training.sampling import GroupOptions\n"
        "groups = built(GroupOptions(size=6, negatives=Mixed()), source(THREE), seed=3)\n"
        "print([(g.query.id, _ids(g)) for g in (groups.group(e, i) for e in (2, 0) for i in range(len(groups)))])"
    )
    groups = built(GroupOptions(size=6, negatives=Mixed()), source(THREE), seed=3)
    here = [(g.query.id, _ids(g)) for epoch in (2, 0) for g in _epoch(groups, epoch)]
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(here), "whatever Python's own hashes are there"


def test_a_group_does_not_depend_on_what_was_asked_before() -> None:
    options = GroupOptions(size=6, negatives=Mixed())
    groups = built(options, source(THREE))
    backwards = [groups.group(epoch, i) for epoch in (3, 0, 5) for i in reversed(range(len(groups)))]
    fresh = built(options, source(THREE))
    assert backwards == [fresh.group(epoch, i) for epoch in (3, 0, 5) for i in reversed(range(len(fresh)))]
    with pytest.raises(IndexError):
        groups.group(0, len(groups))


def test_a_query_draws_the_same_whatever_other_queries_there_are() -> None:
    alone = built(GroupOptions(size=6), source({"b": THREE["b"]}))
    (among,) = [g for g in _epoch(built(GroupOptions(size=6), source(THREE)), 4) if g.query.id == "b"]
    assert _ids(alone.group(4, 0)) == _ids(among)


def test_negatives_and_order_change_with_epoch_and_seed() -> None:
    groups = built(GroupOptions(size=4), source({"b": {"d2": 1}}))
    drawn = [frozenset(_ids(groups.group(epoch, 0))) for epoch in range(20)]
    assert len(set(drawn)) > 15
    other = built(GroupOptions(size=4), source({"b": {"d2": 1}}), seed=1)
    assert [_ids(groups.group(e, 0)) for e in range(5)] != [_ids(other.group(e, 0)) for e in range(5)]
    orders = [[g.query.id for g in _epoch(built(GroupOptions(), source(THREE)), e)] for e in range(8)]
    assert len(set(map(tuple, orders))) > 1


def test_a_positive_stands_anywhere_in_its_group() -> None:
    groups = built(GroupOptions(size=4), source({"b": {"d2": 1}}))
    places = Counter(_ids(groups.group(epoch, 0)).index("d2") for epoch in range(400))
    assert all(70 < places[place] < 130 for place in range(4))


def test_every_weight_takes_its_share_and_all_groups_come_equally_often() -> None:
    half = source({f"h{i}": {"d1": 1} for i in range(10)}, weight=0.5, name="half")
    twice = source({f"t{i}": {"d2": 1} for i in range(3)}, weight=2.0, name="twice")
    never = source({"n": {"d3": 1}}, weight=0.0, name="never")
    groups = built(GroupOptions(size=3), half, twice, never)
    assert len(groups) == 5 + 6
    epochs = [_epoch(groups, epoch) for epoch in range(4)]
    for epoch in epochs:
        assert Counter(group.source for group in epoch) == {"half": 5, "twice": 6}
    seen = Counter(group.query.id for epoch in epochs for group in epoch)
    assert {seen[f"h{i}"] for i in range(10)} == {2}
    assert {seen[f"t{i}"] for i in range(3)} == {8}
    again = [group for group in epochs[0] if group.query.id == "t0"]
    assert _ids(again[0]) != _ids(again[1]), "the second time in an epoch has negatives of its own"
    assert (groups.counts["groups_of_half"], groups.counts["groups_of_twice"]) == (10, 3)
    assert [group.source for group in epochs[0]] != sorted(group.source for group in epochs[0]), "they are mixed"


def test_what_is_left_out_is_counted() -> None:
    qrels: Qrels = {
        "none": {"d1": 0},
        "absent": {"gone": 2},
        "partly": {"d1": 2, "d2": 1, "gone": 2},
        "short": {"d4": 2},
    }
    ranked = {"partly": [f"d{i}" for i in range(10)], "short": ["d4", "d5", "lost"]}
    groups = built(GroupOptions(size=4), source(qrels, ranked, {"d6": "Text of D1!"}, threshold=2))
    assert groups.counts == {
        "queries_without_positive": 2,
        "held_out_queries_left_out": 0,
        "judged_documents_not_in_corpus": 1,
        "candidates_not_in_corpus": 1,
        "copies_of_positives": 1,
        "partly_relevant_left_out": 1,
        "refused_as_false_negatives": 0,
        "positives_without_teacher_score": 0,
        "groups": 2,
        "groups_with_too_few_negatives": 1,
        "judged_negatives": 0,
        "unjudged_negatives": 4,
        "unjudged_negatives_percent": 100,
    }


def test_judged_negatives_are_told_from_unjudged_ones() -> None:
    qrels: Qrels = {"a": {"d0": 1, "d1": 0, "d2": 0, "d3": 0}}
    counts = built(GroupOptions(size=5, negatives=TopK(k=5)), source(qrels)).counts
    assert (counts["judged_negatives"], counts["unjudged_negatives"]) == (3, 1)
    assert counts["unjudged_negatives_percent"] == 25


def test_texts_are_read_once_and_only_those_that_can_be_shown() -> None:
    training_set = source({"a": {"d90": 1, "d91": 0}})
    corpus = training_set.benchmark.corpus
    assert isinstance(corpus, CountingCorpus)
    groups = built(GroupOptions(negatives=TopK(k=5)), training_set)
    assert corpus.asked == [{"d0", "d1", "d2", "d3", "d4", "d90", "d91"}]
    assert corpus.passes == 0
    assert set(groups.texts) == {"what is a", *(f"text of {d}" for d in corpus.asked[0])}
    built(GroupOptions(negatives=Random(pool=10)), training_set)
    assert corpus.passes == 1 and len(corpus.asked[1]) <= 2


def test_a_sample_of_queries_is_the_same_for_the_same_seed() -> None:
    qrels: Qrels = {f"q{i}": {"d1": 1} for i in range(40)}

    def chosen(seed: int) -> set[str]:
        return {g.query.id for g in _epoch(built(GroupOptions(sample=10), source(qrels), seed=seed), 0)}

    assert len(chosen(0)) == 10
    assert chosen(0) == chosen(0) != chosen(1)


def test_in_batch_groups_may_have_no_negative_of_their_own() -> None:
    groups = built(GroupOptions(size=1, in_batch=True), source(THREE))
    assert all(len(group.documents) == 1 and _relevant(group) for group in _epoch(groups, 0))
    assert groups.counts["groups_with_too_few_negatives"] == 0


@pytest.mark.parametrize(
    ("qrels", "sampler", "problem"),
    [
        ({"a": {"d1": 0}}, TopK(), "no query of toy can be trained on (queries without positive: 1)"),
        ({"a": {"d1": 1}}, Judged(), "no group of toy has both a positive and a negative (groups: 1, groups with too"),
    ],
)
def test_nothing_to_learn_from_is_told_in_one_line(qrels: Qrels, sampler: Sampler, problem: str) -> None:
    options = GroupOptions(negatives=sampler)
    tell_place(options, "recipe.groups")
    with pytest.raises(ConfigError, match=r"^recipe\.groups: ") as told:
        built(options, source(qrels))
    assert problem in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "key"),
    [({"size": 1}, "size"), ({"size": 0, "in_batch": True}, "size"), ({"sample": 0}, "sample")],
)
def test_wrong_options(options: dict[str, int], key: str) -> None:
    with pytest.raises(ConfigError) as told:
        build(check({"_target_": GroupOptions, **options}, "groups"), "groups")
    assert told.value.key == f"groups.{key}"


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "conf/recipe/groups").glob("*.yaml")))
def test_every_option_is_built(name: str) -> None:
    parts = compose("train", [f"recipe/groups={name}"]).parts
    options = build(parts["recipe"]["groups"], "recipe.groups")
    assert isinstance(options, GroupOptions)
    assert (options.teacher is not None) == (name == "judge")


def test_dev_groups_are_the_first_stage_lists() -> None:
    benchmark = source(
        {"a": {"d1": 2, "d30": 1, "d2": -1}, "empty": {"d1": 1}}, {"a": ["d5", "gone", "d1", "d2", "d3"], "empty": []}
    )
    (group,) = candidate_groups(benchmark.benchmark, benchmark.first_stage, 4)
    assert _ids(group) == ["d5", "d1", "d2"]
    assert (group.labels, group.ranks) == ((0.0, 2.0, 0.0), (1, 3, 4))
    assert group.judged == (False, True, True)
    assert group.scores == (1.0, 1 / 3, 1 / 4)
    assert len(group.first_stage) == 5
    assert group.positives == {"d1", "d30"}


def test_a_batch_pads_on_the_right() -> None:
    def group(n: int, teacher: bool) -> Group:
        documents = tuple(Document(f"d{i}", "") for i in range(n))
        values = tuple(float(i + 1) for i in range(n))
        ranks = tuple(range(1, n + 1))
        return Group(Query("q", ""), documents, values, (True,) * n, ranks, values, values if teacher else None)

    batch = batch_of([group(1, True), group(3, True)])
    assert batch.labels.tolist() == batch.first_scores.tolist() == [[1, 0, 0], [1, 2, 3]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.ranks.tolist() == [[1, 0, 0], [1, 2, 3]]
    assert batch.teacher is not None and batch.teacher.tolist() == [[1, 0, 0], [1, 2, 3]]
    assert batch_of([group(1, True), group(3, False)]).teacher is None


def test_requests_are_those_of_all_candidates_in_order_and_scores_go_back_in_rows() -> None:
    groups = _epoch(built(GroupOptions(size=3), source(THREE)), 0)[:2]
    groups[1] = replace(groups[1], **{n: getattr(groups[1], n)[:2] for n in ("documents", "labels", "ranks", "scores")})
    requests = requests_of(groups)
    assert [r.query for r in requests] == [groups[0].query] * 3 + [groups[1].query] * 2
    assert [r.candidate.document.id for r in requests] == _ids(groups[0]) + _ids(groups[1])
    assert [r.candidate.rank for r in requests] == [max(rank - 1, 0) for group in groups for rank in group.ranks]
    assert [r.candidate.score for r in requests] == [score for group in groups for score in group.scores]
    rows = in_rows(groups, torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), 4)
    assert rows.tolist() == [[1, 2, 3, 0], [4, 5, 0, 0]]
