"""No first stage: the benchmark's own lists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rerankbench.errors import ConfigError
from rerankbench.retrievers.none import NoRetriever
from rerankbench.store import Store
from tests.retrievers.toy import toy


def test_given_lists_come_by_given_score_ties_in_given_order(tmp_path: Path) -> None:
    given = {"q": [("c", 1.0), ("a", 1.0), ("b", 2.0)], "empty": []}
    benchmark = replace(toy({}, {"q": "x", "empty": "y"}), candidates=given)
    run = NoRetriever().retrieve(benchmark, Store(tmp_path))
    assert run == {"q": [("b", 2.0), ("c", 1.0), ("a", 1.0)], "empty": []}


def test_without_given_lists_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"toy gives no candidate lists; .*benchmark\.candidates=judged"):
        NoRetriever().retrieve(toy({}, {"q": "x"}), Store(tmp_path))
