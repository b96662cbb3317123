"""The table can be read at 80 columns, in a pipe and on a terminal, and cuts nothing off."""

import io
import json

import pytest
from rich.console import Console

from rerankbench.tracking.records import AnalysisResult, Estimate
from rerankbench.tracking.run_folder import RunFolder, read_json
from rerankbench.tracking.table import show
from tests.tracking.toy_run import CONFIG, TRAINING, UNTRAINED, fill


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


@pytest.mark.parametrize("width", [80, 200])
def test_a_training_is_shown_beside_the_untrained(trained, width):
    text = shown(trained, width=width)
    before, _, after = text.partition("trained compared with untrained")
    reranked = read_json(trained, "metrics.json")["measures"]["ndcg@10"]["reranked"]
    row = next(line.split() for line in after.splitlines() if line.strip().startswith("ndcg@10"))
    assert row[1:] == [
        f"{UNTRAINED['untrained']:.4f}",
        f"{reranked:.4f}",
        "+0.1250",
        "+0.0100",
        "+0.2000",
        "0.0300",
        "<0.0001",
    ]
    assert "ndcg@10" in before and "…" not in text
    assert "training: 1,200 groups, 30 steps, 12.5 s; best dev ndcg@10 0.4321 at step 20" in text.splitlines()
    assert "counted in training: groups with too few negatives 3" in text.splitlines()


def test_why_there_is_nothing_untrained_to_compare_with(trained):
    record = read_json(trained, "metrics.json")
    training = {**TRAINING, "best_dev": None, "counts": {}}
    record |= {"untrained": None, "untrained_reason": "has no trained scoring [head]", "training": training}
    (trained / "metrics.json").write_text(json.dumps(record))
    text = shown(trained, width=80)
    assert "not compared with the untrained reranker: has no trained scoring [head]" in text.splitlines()
    assert "training: 1,200 groups, 30 steps, 12.5 s" in text.splitlines()
    assert "trained compared" not in text and "counted in training" not in text


def test_what_analyses_found_is_shown(finished):
    rows = [[f"q{i}", "a long text " * 20, 0.5] for i in range(12)]
    picture = finished / "analysis" / "mine" / "plot.png"
    figures = {"mean_gain": Estimate(0.5, (0.25, 0.75)), "wins": 1200}
    result = AnalysisResult(figures=figures, columns=["query", "text", "gain"], rows=rows, pictures=[picture])
    with RunFolder(finished, {**CONFIG, "analysis": {"mine": {}}}, force=True) as folder, folder.recording():
        fill(folder)
        folder.write_json("analysis/mine.json", result.to_json(finished))
    lines = shown(finished, width=80).splitlines()
    assert "mine: mean gain 0.5000 [0.2500, 0.7500], wins 1,200" in lines
    (row,) = [line for line in lines if line.strip().startswith("q9 ")]
    assert row.rstrip().endswith("0.5000") and len(row) <= 80
    assert not [line for line in lines if line.strip().startswith("q10")]
    assert f"2 more rows in {finished / 'analysis' / 'mine'}.csv" in lines
    assert str(picture) in lines


def test_in_a_pipe_there_are_no_control_characters(finished):
    assert "\x1b" not in shown(finished)
    assert shown(finished).isascii() or "─" in shown(finished)


def test_names_are_text_not_markup(tmp_path):
    folder = tmp_path / "[red]run[/red]"
    with RunFolder(folder, {**CONFIG, "tracking": {}}) as held, held.recording():
        fill(held)
    text = shown(folder, width=80)
    assert f"run folder: {folder}" in text
    assert "rerankbench ui" not in text


def test_nothing_is_logged_without_a_reader_of_the_table(finished, capsys):
    show(finished)
    out = capsys.readouterr()
    assert str(finished) in out.out and out.err == ""
