"""The table can be read at 80 columns, in a pipe and on a terminal, and cuts nothing off."""

import io

import pytest
from rich.console import Console
from toy_run import CONFIG, fill

from rerankbench.tracking.run_folder import RunFolder, read_json
from rerankbench.tracking.table import show


def shown(folder, **options):
    console = Console(file=io.StringIO(), highlight=False, **options)
    show(folder, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_everything_is_there(finished, width):
    text = shown(finished, width=width)
    lines = text.splitlines()
    row = next(line.split() for line in lines if line.strip().startswith("ndcg@10"))
    values = read_json(finished, "metrics.json")["measures"]["ndcg@10"]
    assert row[1:4] == [f"{values['first_stage']:.4f}", f"{values['reranked']:.4f}", f"{values['difference']:+.4f}"]
    assert len(row) == 8
    for part in ("toy-set test: 3 queries", "rerank 12.2", "4 requests (1 from the store)", "1,234 tokens"):
        assert part in text
    assert "queries without candidates 1" in text and "failed answers" not in text  # counts of zero are left out
    assert f"run folder: {finished}" in lines  # on one line, however long
    assert "rerankbench ui" in text
    assert "…" not in text


def test_in_a_pipe_there_are_no_control_characters(finished):
    assert "\x1b" not in shown(finished)
    assert shown(finished).isascii() or "─" in shown(finished)


def test_names_are_text_not_markup(tmp_path):
    folder = tmp_path / "[red]run[/red]"
    with RunFolder(folder, {**CONFIG, "tracking": {}}) as held:
        fill(held)
    text = shown(folder, width=80)
    assert f"run folder: {folder}" in text
    assert "rerankbench ui" not in text


def test_nothing_is_logged_without_a_reader_of_the_table(finished, capsys):
    show(finished)
    out = capsys.readouterr()
    assert str(finished) in out.out and out.err == ""
