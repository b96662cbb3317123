"""Run folders of earlier versions are read: their targets and keys by the names that they have now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rerankbench.config.moved import MOVED_TARGETS, upgrade, upgraded
from rerankbench.config.targets import resolve

RECORDED = """
benchmarks.ir_datasets IrDatasets
benchmarks.local Local
benchmarks.pydocs PyDocs
models.endpoint Endpoint
models.model Model
models.vector_prf VectorPRF
models.vllm VLLM
models.wheel Wheel
models.zoo.anmm ANMM
models.zoo.arc_i ArcI
models.zoo.arc_ii ArcII
models.zoo.cdssm CDSSM
models.zoo.conv_knrm ConvKNRM
models.zoo.drmm DRMM
models.zoo.dssm DSSM
models.zoo.duet DUET
models.zoo.knrm KNRM
models.zoo.match_pyramid MatchPyramid
models.zoo.pacrr PACRR
rerankers.aggregate Aggregate
rerankers.cascade Cascade
rerankers.passages Passages
rerankers.prompt Prompt
rerankers.reranker Reranker
rerankers.scorers.bi_encoder BiEncoder
rerankers.scorers.choice Choice
rerankers.scorers.cross_encoder CrossEncoder
rerankers.scorers.e2rank E2Rank
rerankers.scorers.expected_rating ExpectedRating
rerankers.scorers.first_token FirstToken
rerankers.scorers.group_scores GroupScores
rerankers.scorers.icr ICR
rerankers.scorers.late_interaction LateInteraction
rerankers.scorers.neural Neural
rerankers.scorers.oracle Oracle
rerankers.scorers.permutation GeneratedPermutation
rerankers.scorers.preference Preference
rerankers.scorers.query_likelihood QueryLikelihood
rerankers.scorers.reasoning_choice ReasoningChoice
rerankers.scorers.reasoning_relevance ReasoningRelevance
rerankers.scorers.rerank_endpoint RerankEndpoint
rerankers.scorers.sparse Sparse
rerankers.scorers.vector_prf FeedbackBiEncoder
rerankers.scorers.yes_no YesNo
rerankers.strategies.early_exit EarlyExit
rerankers.strategies.groupwise Groups
rerankers.strategies.identity Identity
rerankers.strategies.insert_scores InsertScores
rerankers.strategies.listwise OneShot SlidingWindow
rerankers.strategies.pairwise AllPairs BubbleSort HeapSort
rerankers.strategies.pointwise ScoreAll
rerankers.strategies.setwise BubbleSort HeapSort
rerankers.strategies.text_prf TextPRF
rerankers.strategies.tournament Tournament
rerankers.trained trained
retrievers.analysis Analyzer
retrievers.bm25 BM25
retrievers.dense Dense
retrievers.fusion Fusion
retrievers.none NoRetriever
retrievers.rank_bm25 RankBM25
retrievers.run_file RunFile
retrievers.sparse Sparse
tracking.mlflow MLflow
tracking.none NoTracking
training.adaptation.bottleneck Bottleneck
training.adaptation.codyra CoDyRA
training.adaptation.freeze Freeze
training.adaptation.full full
training.adaptation.lora LoRA
training.adaptation.sparse_mask SparseMask
training.adaptation.switch_lora SwitchLoRA
training.false_negatives Judge Margin
training.loop Loop
training.losses.approx_ndcg ApproxNDCG
training.losses.brio Brio
training.losses.contrastive LocalizedContrastive
training.losses.distillation ApproxDiscountedRankMSE KL MarginMSE SymmetricKL
training.losses.lambda_rank LambdaLoss
training.losses.list_mle ListMLE PositionAwareListMLE
training.losses.pairwise Hinge RankNet SoftmaxPair
training.losses.pointwise BinaryCrossEntropy MeanSquaredError
training.losses.rank_list RankList
training.losses.softmax ListNet SoftmaxCrossEntropy
training.losses.unified Unified
training.negatives Bottom Judged Mixed Random TopK Window
training.recipe Recipe
training.sampling GroupOptions
training.stages.masked_lm MaskedLM
training.stages.supervised Supervised
training.teacher TeacherFile TeacherReranker
training.weighting.cet CET
training.weighting.curriculum Curriculum
training.weighting.dynamic LossReweighting
training.weighting.none none
"""
"""The targets of the option files of the first versions, a module with its names a line: they stand in run folders."""

LOOP = "rerankbench.training.loop.Loop"
BOTTLENECK = "rerankbench.training.adaptation.bottleneck.Bottleneck"
MASKED = "rerankbench.training.stages.masked_lm.MaskedLM"
SUPERVISED = "rerankbench.training.stages.supervised.Supervised"


def _recorded() -> list[str]:
    lines = [line.split() for line in RECORDED.strip().splitlines()]
    return [f"rerankbench.{module}.{name}" for module, *names in lines for name in names]


@pytest.mark.parametrize("target", _recorded())
def test_every_target_ever_recorded_is_found(target: str) -> None:
    node, changed = upgrade({"part": {"_target_": target}})
    assert resolve(node["part"]["_target_"], "part")
    assert changed == (target in MOVED_TARGETS)


def test_what_is_up_to_date_stays_as_it_is() -> None:
    config = {"reranker": {"_target_": LOOP, "below": 3}, "recipe": {"stages": {"one": {"loop": {}}}}, "seed": 0}
    assert upgrade(config | {"reranker": {"below": 3}}) == (config | {"reranker": {"below": 3}}, False)


def test_top_level_models_and_renamed_keys() -> None:
    old = {
        "model": {"path": "x"},
        "prompt": None,
        "reranker": {"scorer": {"model": {"path": "x"}}},
        "recipe": {"loop": {"_target_": LOOP, "recompute": True}, "stages": {}},
    }
    assert upgrade(old) == (
        {
            "reranker": {"scorer": {"model": {"path": "x"}}},
            "recipe": {"loop": {"_target_": LOOP, "activation_checkpointing": True}, "stages": {}},
        },
        True,
    )


@pytest.mark.parametrize(
    ("stages", "names"),
    [
        ([{}], ["supervised"]),
        ([{}, {}], ["first", "second"]),
        ([{"name": "en"}, {"name": "de"}, {}], ["en", "de", "ranking"]),
        ([{}, {}, {}, {}], ["first", "second", "third", "stage_3"]),
    ],
)
def test_stages_get_names(stages: list[dict[str, Any]], names: list[str]) -> None:
    new, _ = upgrade({"recipe": {"stages": [{"_target_": SUPERVISED, **stage} for stage in stages]}})
    assert new["recipe"]["stages"] == {name: {"_target_": SUPERVISED} for name in names}


def test_a_stage_is_referred_to_by_its_name() -> None:
    adaptation = {"_target_": BOTTLENECK, "below": ["stage 0", "some/folder"]}
    stages = [{"_target_": MASKED, "name": "en"}, {"_target_": SUPERVISED, "adaptation": adaptation}]
    recipe = upgrade({"recipe": {"adaptation": adaptation, "stages": stages}})[0]["recipe"]
    expected = {"_target_": BOTTLENECK, "base_adapters": ["en", "some/folder"]}
    assert recipe["adaptation"] == recipe["stages"]["ranking"]["adaptation"] == expected


def test_what_an_earlier_version_left_to_defaults_is_filled_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = {"_target_": "rerankbench.rerankers.prompt.Prompt", "messages": [{"content": "{{ query }}"}]}
    old = {"model": {}, "reranker": {"scorer": {"prompt": prompt}}}
    with caplog.at_level("INFO", "rerankbench"):
        new = upgraded(old, tmp_path / "config.yaml")["reranker"]["scorer"]["prompt"]
    assert (new["_target_"], new["label_style"]) == ("rerankbench.prompt.Prompt", "numbers")
    assert "written by an earlier version" in caplog.text
