"""What there is to choose from, and what an option sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.cli import main
from rerankbench.commands.ls import listing, option_listing
from rerankbench.config.options import groups
from rerankbench.errors import ConfigError


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "reranker").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "reranker" / "mine.yaml").write_text("# My own reranker\n_target_: x.Y\n")
    (tmp_path / "experiment" / "paper.yaml").write_text("# @package _global_\n# My paper\nseed: 1\n")
    return tmp_path


def test_a_group_is_listed_with_the_groups_inside_it(mine: Path) -> None:
    text = listing("reranker", [mine])
    heads = [line for line in text.splitlines() if line.endswith("=")]
    assert heads == [f"{group}=" for group in sorted(groups([mine])) if group.split("/")[0] == "reranker"]
    assert any(line.split() == ["mine", "My", "own", "reranker"] for line in text.splitlines())
    assert "retriever=" not in text
    whole = listing(None, [mine])
    assert [line[:-1] for line in whole.splitlines() if line.endswith("=")] == sorted(groups([mine]))
    assert "My paper" in whole


def test_an_unknown_group_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no group 'rerankr'; did you mean 'reranker'"):
        listing("rerankr")


def _rows(text: str) -> dict[str, str]:
    """Key and value → what is said of it, its lines joined."""
    rows: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        left, _, right = (part.strip() for part in line.partition("  # "))
        key = left or [*rows][-1]
        rows[key] = f"{rows.get(key, '')} {right}".strip()
    return rows


def test_an_option_shows_its_keys_with_types_ranges_defaults_and_values() -> None:
    text = option_listing("reranker", "rankgpt")
    rows = _rows(text)
    assert text.startswith("# reranker=rankgpt: Orders written by the model")
    assert rows["depth: 20"].startswith("an integer")
    assert "default null" in rows["depth: 20"]
    assert rows["strategy:"].startswith("SlidingWindow: ")
    assert "one of auto, float32, bfloat16, float16; default auto" in rows["dtype: auto"]
    assert rows["path: null"].startswith("text or null; default null; a folder, a hub id")
    indents = {line.split(":")[0].strip(): len(line) - len(line.lstrip()) for line in text.splitlines()}
    assert indents["reranker"] < indents["scorer"] < indents["model"] < indents["wheel"] < indents["sha256"]


def test_what_must_be_given_is_shown_and_a_file_that_sets_keys_elsewhere(mine: Path) -> None:
    assert "must be given" in _rows(option_listing("model", "hub"))["path: ???"]
    assert option_listing("experiment", "paper", [mine]) == "# @package _global_\n# My paper\nseed: 1"
    assert "names: [ndcg@10" in option_listing("measures", "default")


@pytest.mark.slow
@pytest.mark.parametrize(("group", "options"), groups().items())
def test_every_option_can_be_shown(group: str, options: dict[str, Path]) -> None:
    for option in options:
        assert len(option_listing(group, option).splitlines()) > 1


def test_a_wrong_option_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", "reranker=rankgp"]) == 2
    assert "no option 'rankgp'; did you mean 'rankgpt'?" in capsys.readouterr().err
    assert main(["ls", "rerankr=x"]) == 2
    assert "no group 'rerankr'; did you mean 'reranker'?" in capsys.readouterr().err
    assert main(["ls", "reranker="]) == main(["ls", "reranker"]) == 0
