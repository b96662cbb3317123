"""What there is to choose from, read from file names and first comment lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.config.options import conf_folder, description, groups


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "reranker").mkdir()
    (tmp_path / "experiment").mkdir()
    (tmp_path / "reranker" / "mine.yaml").write_text("# My own reranker\n_target_: x.Y\n")
    (tmp_path / "reranker" / "oracle.yaml").write_text("# Another oracle\n")
    (tmp_path / "experiment" / "paper.yaml").write_text("# @package _global_\n# My paper\nseed: 1\n")
    (tmp_path / "top.yaml").write_text("# In no group\n")
    return tmp_path


def test_every_file_below_a_group_is_an_option() -> None:
    found = groups()
    files = {file for options in found.values() for file in options.values()}
    assert files == set(conf_folder().rglob("*.yaml")) - set(conf_folder().glob("*.yaml"))
    assert {
        "benchmark",
        "retriever",
        "reranker",
        "reranker/scorer",
        "reranker/strategy",
        "model",
        "size",
    } <= found.keys()


def test_folders_of_ones_own_add_options_and_replace_none(mine: Path) -> None:
    found = groups([mine])
    assert found["reranker"]["mine"] == mine / "reranker" / "mine.yaml"
    assert found["reranker"]["oracle"].is_relative_to(conf_folder())
    assert found["experiment"]["paper"] == mine / "experiment" / "paper.yaml"
    assert not any("top" in options for options in found.values())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# What it is\nkey: 1\n", "What it is"),
        ("# @package _global_\n# What it is\n", "What it is"),
        ("#no space\n", "no space"),
        ("key: 1\n# late\n", ""),
        ("", ""),
    ],
)
def test_the_description_is_the_first_comment(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert description(tmp_path / "x.yaml") == expected
