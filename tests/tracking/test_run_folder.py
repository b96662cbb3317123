"""A run folder says what it is, is finished or is not, lets one process in, and is never overwritten by mistake."""

import json
import logging
import subprocess
import sys
from datetime import datetime

import pytest
import pytrec_eval

from rerankbench.errors import ConfigError, DataError
from rerankbench.tracking.run_folder import RunFolder, default_run_dir, read_config, read_json
from tests.tracking.toy_run import CONFIG, QRELS, RERANKED, fill

log = logging.getLogger("rerankbench")


def test_a_finished_run_is_recognised_and_left_alone(finished):
    before = {file.name: file.read_bytes() for file in finished.iterdir()}
    with RunFolder(finished, CONFIG) as folder:
        assert folder.finished
        log.warning("not for the folder")
    assert {file.name: file.read_bytes() for file in finished.iterdir()} == before
    assert {
        "config.yaml",
        "run.trec",
        "metrics.json",
        "per_query.csv",
        "cost.json",
        "environment.json",
        "log.txt",
    } <= set(before)


def test_every_json_record_has_its_schema(finished):
    for file in finished.glob("*.json"):
        assert json.loads(file.read_text())["schema"] == 1


def test_unfinished_goes_on(tmp_path):
    with pytest.raises(RuntimeError), RunFolder(tmp_path / "run", CONFIG) as folder, folder.recording():
        folder.write_json("cost.json", {"seconds": {}})
        log.error("about to fail")
        raise RuntimeError("out of luck")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "about to fail" in text and "Traceback" in text and "RuntimeError: out of luck" in text
    with RunFolder(tmp_path / "run", CONFIG) as folder, folder.recording():
        assert not folder.finished
        fill(folder)
    with RunFolder(tmp_path / "run", CONFIG) as folder:
        assert folder.finished


def test_the_log_stops_with_the_block(tmp_path):
    with RunFolder(tmp_path / "run", CONFIG) as folder, folder.recording():
        log.warning("inside")
    log.warning("outside")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "inside" in text and "outside" not in text
    assert not [handler for handler in log.handlers if isinstance(handler, logging.FileHandler)]


def test_a_users_mistake_leaves_no_trace_in_the_log(tmp_path):
    with pytest.raises(ConfigError), RunFolder(tmp_path / "run", CONFIG) as folder, folder.recording():
        raise ConfigError("benchmark.path", "no such folder")
    text = (tmp_path / "run" / "log.txt").read_text()
    assert "benchmark.path: no such folder" in text and "Traceback" not in text


def test_another_configuration_is_refused_by_the_keys_that_differ(finished):
    other = {**CONFIG, "seed": 1, "reranker": {"depth": 50, "note": ""}}
    with pytest.raises(ConfigError, match=r"another reranker\.depth, seed;") as caught, RunFolder(finished, other):
        pass
    assert caught.value.key == "run_dir"
    assert read_config(finished)["seed"] == 0


def test_where_a_run_goes_and_its_name_are_not_what_it_is(finished):
    with RunFolder(finished, {**CONFIG, "name": "other", "run_dir": "x", "tracking": {"uri": "y"}}) as folder:
        assert folder.finished


def test_force_starts_anew(finished):
    with RunFolder(finished, {**CONFIG, "seed": 1}, force=True) as folder, folder.recording():
        assert not folder.finished
        assert not (finished / "metrics.json").exists() and not (finished / "run.trec").exists()
    assert read_config(finished)["seed"] == 1


def test_force_takes_a_trainings_network_and_stages_away(trained):
    (trained / "stages" / "0" / "checkpoint-10").mkdir(parents=True)
    (trained / "teacher.jsonl").write_text("{}\n")
    with RunFolder(trained, CONFIG) as folder:
        assert folder.finished
    assert (trained / "checkpoint" / "config.json").exists() and (trained / "stages").exists()
    with RunFolder(trained, CONFIG, force=True) as folder, folder.recording():
        assert not folder.finished
    left = {entry.name for entry in trained.iterdir() if not entry.name.startswith(".")}
    assert left == {"config.yaml", "log.txt"}


def test_an_unfinished_training_keeps_what_it_has(trained):
    (trained / "metrics.json").unlink()
    (trained / "stages" / "0").mkdir(parents=True)
    before = {str(file): file.read_bytes() for file in trained.rglob("*") if file.is_file() and file.name != "log.txt"}
    with RunFolder(trained, CONFIG) as folder, folder.recording():
        assert not folder.finished
    assert (trained / "stages" / "0").is_dir()
    assert {str(file): file.read_bytes() for file in trained.rglob("*") if str(file) in before} == before


def test_of_a_link_only_the_link_is_taken_away(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "model.safetensors").write_text("weights")
    with RunFolder(tmp_path / "run", CONFIG) as folder, folder.recording():
        (folder.path / "checkpoint").symlink_to(tmp_path / "elsewhere")
    with RunFolder(tmp_path / "run", CONFIG, force=True) as folder, folder.recording():
        pass
    assert not (tmp_path / "run" / "checkpoint").exists()
    assert (tmp_path / "elsewhere" / "model.safetensors").exists()


@pytest.mark.parametrize("name", ["checkpoint", "stages"])
def test_what_a_killed_force_may_leave_is_no_strangers(tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with RunFolder(tmp_path / "run", CONFIG) as folder:
        assert not folder.finished
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).write_text("a file of this name is no run's")
    with pytest.raises(ConfigError, match=f"it holds '{name}'"), RunFolder(tmp_path / "other", CONFIG):
        pass


@pytest.mark.parametrize("force", [False, True])
def test_somebodys_files_are_safe(tmp_path, force):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis\.tex"), RunFolder(tmp_path, CONFIG, force):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"), RunFolder(tmp_path / "file", CONFIG):
        pass
    with pytest.raises(ConfigError, match="cannot write"), RunFolder(tmp_path / "file" / "run", CONFIG):
        pass


def test_a_mistake_before_anything_is_recorded_leaves_nothing(tmp_path, finished):
    with pytest.raises(ConfigError), RunFolder(tmp_path / "new", CONFIG):
        raise ConfigError("benchmark.path", "no such folder")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError), RunFolder(tmp_path / "empty", CONFIG):
        raise ConfigError("benchmark.path", "no such folder")
    assert (tmp_path / "empty").is_dir()
    with pytest.raises(ConfigError), RunFolder(finished, CONFIG, force=True):
        raise ConfigError("benchmark.path", "no such folder")
    assert (finished / "metrics.json").exists(), "force takes nothing away before there is something to record"


def test_the_analyses_of_an_unfinished_run_may_be_others(finished):
    other = {**CONFIG, "analysis": {"win_loss": {"queries": 3}}}
    with RunFolder(finished, {**CONFIG, "analysis": {}, "perturbation": {}}) as folder:
        assert folder.finished, "an empty mapping is as good as none"
    with pytest.raises(ConfigError, match=r"another analysis\.win_loss\.queries"), RunFolder(finished, other):
        pass
    (finished / "metrics.json").unlink()
    with RunFolder(finished, other) as folder, folder.recording():
        assert not folder.finished
    assert read_config(finished)["analysis"] == other["analysis"]


def test_an_empty_folder_will_do(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder, folder.recording():
        fill(folder)
    assert (tmp_path / "metrics.json").exists()


def test_one_process_at_a_time(tmp_path):
    code = (
        "import sys; from pathlib import Path; from rerankbench.tracking.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1]), {'seed': 0}): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "in\n"
        for force in (False, True):
            with (
                pytest.raises(ConfigError, match="in use by another process"),
                RunFolder(tmp_path / "run", {"seed": 0}, force),
            ):
                pass
    finally:
        other.kill()
        other.wait()
        other.stdin.close()
        other.stdout.close()
    with RunFolder(tmp_path / "run", {"seed": 0}) as folder:  # killed: the lock went with it
        assert not folder.finished


def test_trec_eval_reads_the_run_in_our_order(finished):
    lines = [line.split() for line in (finished / "run.trec").read_text().splitlines()]
    assert [line[:4] for line in lines] == [
        ["q1", "Q0", "a", "1"], ["q1", "Q0", "b", "2"], ["q2", "Q0", "c", "1"], ["q2", "Q0", "y", "2"],
    ]  # fmt: skip
    assert all(len(line) == 6 and line[5] == "toy" for line in lines)
    with (finished / "run.trec").open() as file:
        run = pytrec_eval.parse_run(file)
    theirs = pytrec_eval.RelevanceEvaluator(QRELS, {"ndcg_cut_10"}).evaluate(run)
    mean = sum(value["ndcg_cut_10"] for value in theirs.values()) / 3
    assert read_json(finished, "metrics.json")["measures"]["ndcg@10"]["reranked"] == pytest.approx(mean)
    assert RERANKED["q1"][0][1] == RERANKED["q1"][1][1]  # the tie that trec_eval would have broken the other way


def test_ids_with_white_space_keep_six_columns(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder:
        folder.write_run({"q 1": [("a\tb", 1.0), ("c\u00a0d", 0.5), ("", 0.1)]}, tag="two words")
    for line in (tmp_path / "run.trec").read_text().splitlines():
        assert len(line.split()) == 6


def test_what_json_cannot_hold_is_refused(tmp_path):
    with RunFolder(tmp_path, CONFIG) as folder, pytest.raises(ValueError):
        folder.write_json("cost.json", {"seconds": float("nan")})
    assert not (tmp_path / "cost.json").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [('{"schema": 2}', "newer"), ("{", "not valid JSON"), ("[]", "no record"), (None, "cannot be read")],
)
def test_records_that_cannot_be_read(tmp_path, text, problem):
    if text is not None:
        (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(DataError, match=rf"metrics\.json.*{problem}"):
        read_json(tmp_path, "metrics.json")


def test_broken_metrics_mean_unfinished_and_newer_ones_are_left_alone(finished):
    (finished / "metrics.json").write_text("{")
    with RunFolder(finished, CONFIG) as folder:
        assert not folder.finished
    (finished / "metrics.json").write_text('{"schema": 99}')
    with pytest.raises(DataError, match="newer"), RunFolder(finished, CONFIG):
        pass


def test_default_folders_never_collide(tmp_path):
    now = datetime(2026, 1, 2, 3, 4, 5)
    first = default_run_dir(tmp_path, "a/b c", now)
    assert first == tmp_path / "2026-01-02" / "03-04-05-a-b-c"
    first.mkdir(parents=True)
    second = default_run_dir(tmp_path, "a/b c", now)
    second.mkdir()
    assert len({first, second, default_run_dir(tmp_path, "a/b c", now)}) == 3
    assert default_run_dir(tmp_path, "../..", now).parent == first.parent
