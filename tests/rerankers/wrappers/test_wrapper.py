"""A wrapped scorer is its inner scorer but for what the wrapper changes; anyone can write one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

from rerankbench import load_reranker
from rerankbench.errors import ConfigError
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Listwise, Pointwise
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorer import Scorer
from rerankbench.rerankers.strategies.pointwise import ScoreAll
from rerankbench.rerankers.wrappers.passages import Passages
from rerankbench.rerankers.wrappers.wrapper import WrappedScorer, Wrapper
from rerankbench.types import Candidate, Document, Query
from rerankbench.usage import Usage
from tests.configured import configured

REQUEST = Pointwise(Query("q", "query"), Candidate(Document("d", "a b c"), 0, 1.0))


@dataclass
class Words(Scorer):
    """Scores a text by its number of words."""

    answers: ClassVar[Any] = Pointwise
    reads: ClassVar[frozenset[str]] = frozenset({"text", "metadata.date"})
    chunk: ClassVar[int] = 7
    model: str = "net"
    usage: Usage = field(default_factory=Usage)
    prepared: list[Any] = field(default_factory=list)

    def answer(self, requests: Sequence[Pointwise]) -> list[float]:
        self.usage.forward_passes += 1
        return [float(len(request.candidate.document.text.split())) for request in requests]

    def fingerprint(self) -> str | None:
        return "words"

    def prepare(self, requests: Sequence[Pointwise]) -> None:
        self.prepared += requests

    def tokens(self, request: Pointwise) -> int:
        return 5


@dataclass(frozen=True, kw_only=True)
class Plus(Wrapper):
    """Adds to every score."""

    amount: float = 1.0

    def wrap(self, scorer: Scorer) -> Scorer:
        return PlusScorer(scorer, self)


class PlusScorer(WrappedScorer):
    """Inner scores, raised."""

    def __init__(self, scorer: Scorer, plus: Plus) -> None:
        super().__init__(scorer, plus)
        self.amount = plus.amount

    def answer(self, requests: Sequence[Any]) -> list[float]:
        return [score + self.amount for score in self.scorer.answer(requests)]


def test_everything_is_forwarded() -> None:
    inner = Words()
    scorer = WrappedScorer(inner, Wrapper())
    assert (scorer.answers, scorer.reads, scorer.chunk, scorer.models) == (Pointwise, inner.reads, 7, ["net"])
    assert (scorer.answer([REQUEST]), scorer.tokens(REQUEST)) == ([3.0], 5)
    assert scorer.usage is inner.usage
    scorer.prepare([REQUEST])
    assert inner.prepared == [REQUEST]
    scorer.record = print
    assert inner.record is scorer.record is print


def test_the_fingerprint_is_of_the_scorer_and_the_options() -> None:
    class Unstored(Words):
        def fingerprint(self) -> None:
            return None

    one, two = (Plus(amount=amount).wrap(Words()).fingerprint() for amount in (1.0, 2.0))
    assert len({one, two, "words", Plus().wrap(Plus().wrap(Words())).fingerprint()}) == 4
    assert one == Plus().wrap(Words()).fingerprint()
    assert Plus().wrap(Unstored()).fingerprint() is None


def test_wrappers_are_applied_in_order_after_passages() -> None:
    reranker = Reranker(
        strategy=ScoreAll(),
        scorer=Words(),
        passages=Passages(words=1, stride=1, fold="sum"),
        wrappers={"b": Plus(amount=2.0), "a": Plus(amount=0.5)},
    )
    outer: Any = reranker.wrapped_scorer
    assert (outer.amount, outer.scorer.amount, outer.scorer.scorer.passages) == (0.5, 2.0, reranker.passages)
    found = Engine().rerank(reranker, [REQUEST.query], {"q": [("d", 1.0)]}, {"d": REQUEST.candidate.document})
    assert found == {"q": [("d", 5.5)]}


def test_a_wrapper_refuses_a_scorer_of_other_requests_at_its_key() -> None:
    class Order(Words):
        answers: ClassVar[Any] = Listwise

    parts = {"strategy": {"_target_": ScoreAll}, "scorer": {"_target_": Order}}
    with pytest.raises(ConfigError, match=r"^reranker\.first\.wrappers\.mine: wraps a scorer of Pointwise"):
        configured("reranker.first", Reranker, **parts, wrappers={"mine": {"_target_": Passages}})
    configured("reranker.first", Reranker, **parts, wrappers={"mine": {"_target_": Plus}})


def test_a_wrapper_of_ones_own_is_chosen_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "reranker" / "wrapper").mkdir(parents=True)
    (tmp_path / "negated.py").write_text(
        "from dataclasses import dataclass\n"
        "from typing import Annotated\n"
        "from annotated_types import Gt\n"
        "from rerankbench.rerankers.scorer import Scorer\n"
        "from rerankbench.rerankers.requests import Pointwise\n"
        "from rerankbench.rerankers.wrappers.wrapper import WrappedScorer, Wrapper\n"
        "from rerankbench.usage import Usage\n\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Negated(Wrapper):\n"
        "    times: Annotated[float, Gt(0)] = 1.0\n"
        "    def wrap(self, scorer):\n"
        "        return NegatedScorer(scorer, self)\n\n"
        "class NegatedScorer(WrappedScorer):\n"
        "    def answer(self, requests):\n"
        "        return [-self.wrapper.times * score for score in self.scorer.answer(requests)]\n\n"
        "class Length(Scorer):\n"
        "    answers = Pointwise\n"
        "    def __init__(self):\n"
        "        self.usage = Usage()\n"
        "    def answer(self, requests):\n"
        "        return [float(len(r.candidate.document.text)) for r in requests]\n"
    )
    (tmp_path / "reranker" / "wrapper" / "negated.yaml").write_text("# Lowest first\n_target_: negated.Negated\n")
    (tmp_path / "reranker" / "length.yaml").write_text(
        "# Longest first\ndefaults:\n  - strategy: pointwise\n_target_: rerankbench.rerankers.reranker.Reranker\n"
        "scorer: {_target_: negated.Length}\n"
    )
    words = ["reranker/wrapper@reranker.wrappers.mine=negated", "reranker.wrappers.mine.times=3"]
    plain = load_reranker("length", config_dirs=[tmp_path])
    wrapped = load_reranker("length", *words, config_dirs=[tmp_path])
    assert [(one.text, one.score) for one in plain.rank("q", ["x", "yyy"])] == [("yyy", 3.0), ("x", 1.0)]
    assert [(one.text, one.score) for one in wrapped.rank("q", ["x", "yyy"])] == [("x", -3.0), ("yyy", -9.0)]
    with pytest.raises(ConfigError, match=r"^reranker\.wrappers\.mine\.times: must be above 0"):
        load_reranker("length", words[0], "reranker.wrappers.mine.times=0", config_dirs=[tmp_path])
