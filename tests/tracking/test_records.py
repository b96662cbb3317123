"""Records come back as they were written, and those of a newer rerankbench are refused."""

import json
from dataclasses import replace

import pytest

from rerankbench.errors import DataError
from rerankbench.evaluation.records import Comparison, Cost, Metrics, QueryValues
from rerankbench.tracking.records import AnalysisResult, Environment, Estimate, RunRecord
from rerankbench.tracking.run_folder import RunFolder, read_json
from tests.tracking.toy_run import COST, TRAINING, UNTRAINED


def test_a_run_is_read_as_it_was_written(finished):
    record = RunRecord.read(finished)
    assert record.config["seed"] == 0
    assert (
        record.metrics.measures["ndcg@10"].after
        == read_json(finished, "metrics.json")["measures"]["ndcg@10"]["reranked"]
    )
    assert record.metrics.training is None and record.metrics.untrained is None
    assert record.cost.usage.prompt_tokens == COST["prompt_tokens"]
    assert record.environment.benchmark["name"] == "toy-set"
    assert record.environment.choice("retriever") == "bm25" and record.environment.choice("model") is None
    assert record.per_query[0] == QueryValues("q1", "ndcg@10", *record_values(record, "q1", "ndcg@10"))
    assert len(record.per_query) == 6 and record.history == [] and record.analyses == {}


def record_values(record, query, measure):
    lines = (record.folder / "per_query.csv").read_text().splitlines()
    return map(float, next(line for line in lines if line.startswith(f"{query},{measure},")).split(",")[2:])


def test_a_training_is_read_as_it_was_written(trained):
    record = RunRecord.read(trained)
    training = record.metrics.training
    assert (training.last.items, training.last.steps, training.last.best_dev) == (1200, 30, 0.4321)
    assert [stage.steps for stage in training.stages] == [20, 30]
    assert training.counts == TRAINING["counts"]
    row = record.metrics.untrained["ndcg@10"]
    assert (row.before, row.after) == (UNTRAINED["untrained"], record.metrics.measures["ndcg@10"].after)
    assert [entry.stage for entry in record.history][-1] == 1


@pytest.mark.parametrize("name", ["finished", "trained"])
def test_what_is_read_is_written_again_unchanged(name, request):
    folder = request.getfixturevalue(name)
    record = RunRecord.read(folder)
    for typed in (record.metrics, record.environment):
        assert {"schema": 1, **typed.to_json()} == {**typed.to_json(), **read_json(folder, typed.FILE)}
    assert Cost.from_json(record.cost.to_json()) == record.cost
    assert list(record.metrics.to_json()) == [key for key in read_json(folder, "metrics.json") if key != "schema"]


def test_compositions_and_reasons_are_kept(trained):
    metrics = RunRecord.read(trained).metrics
    row = Comparison(0.1, 0.2, 0.1, [0.0, 0.2], 0.5, 0.4)
    composition = {"adapters": ["a", ["b", "c"]], "queries_with_constant_scores": 1,
                   "measures": {"map": row.to_json("zero_shot", "composed")}}  # fmt: skip
    figures = {"compositions": {"de": composition}}
    changed = replace(metrics, untrained=None, untrained_reason="no head", stage_figures=figures)
    data = json.loads(json.dumps(changed.to_json()))
    assert list(data)[-4:] == ["untrained", "untrained_reason", "compositions", "training"]
    assert data["compositions"]["de"]["measures"]["map"]["zero_shot"] == 0.1
    assert changed.compositions["de"].measures == {"map": row}
    assert Metrics.from_json(data) == changed


def test_an_option_is_known_wherever_its_group_was_placed():
    choices = {"model@reranker.scorer.model": "path", "prompt": "None", "prompt@reranker.scorer.prompt": "setwise"}
    environment = Environment(choices={"reranker/scorer": "yes_no", **choices})
    assert [environment.choice(group) for group in ("model", "prompt", "reranker/scorer")] == [
        "path",
        "setwise",
        "yes_no",
    ]


@pytest.mark.parametrize("name", ["metrics.json", "cost.json", "environment.json"])
def test_a_newer_or_broken_record_is_refused(finished, name):
    (finished / name).write_text('{"schema": 2}')
    with pytest.raises(DataError, match=rf"{name}: written by a newer rerankbench \(schema 2 > 1\); upgrade"):
        RunRecord.read(finished)


def test_a_record_that_lacks_something_is_told(finished):
    (finished / "metrics.json").write_text('{"measures": {"map": {}}, "queries": 1}')
    with pytest.raises(DataError, match=r"metrics\.json: is not such a record \(KeyError"):
        RunRecord.read(finished)


def test_what_an_analysis_found_comes_back(finished):
    picture = finished / "analysis" / "mine" / "plot.png"
    figures = {"wins": 3, "gain": Estimate(0.5, (0.25, 0.75))}
    result = AnalysisResult(figures=figures, columns=["a"], rows=[[1], ["x"]], pictures=[picture])
    with RunFolder(finished, RunRecord.read(finished).config) as folder:
        folder.write_json("analysis/mine.json", result.to_json(finished))
    assert json.loads((finished / "analysis" / "mine.json").read_text())["pictures"] == ["analysis/mine/plot.png"]
    record = replace(RunRecord.read(finished), config={"analysis": {"mine": {}}})
    assert record.analyses == {"mine": result}
