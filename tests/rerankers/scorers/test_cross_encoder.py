"""The cross-encoder's scores are the plain network's, pair by pair."""

from __future__ import annotations

import pytest

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_model import LENGTH, on_cpu, requests, save

HEADED = "BertForSequenceClassification"


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    return {n: save(tmp_path_factory.mktemp(f"head{n}"), HEADED, outputs=n, seed=n) for n in (1, 2, 3)}


def _plain(path: str, asked: list[Pointwise]) -> list[list[float]]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    network = AutoModelForSequenceClassification.from_pretrained(path).eval()
    options = {"return_tensors": "pt", "truncation": "only_second", "max_length": LENGTH}
    with torch.inference_mode():
        # As lists of one: of two single texts the tokenizer takes an empty second one for absent.
        inputs = [tokenizer([r.query.text], [r.candidate.document.text], **options) for r in asked]
        return [network(**tensors).logits[0].tolist() for tensors in inputs]


@pytest.mark.parametrize("budget", [40, 2048])
def test_one_output_is_the_score(headed: dict[int, str], budget: int) -> None:
    asked = requests(1, 30)
    ours = CrossEncoder(model=on_cpu(headed[1], batch_tokens=budget)).answer(asked)
    assert ours == pytest.approx([logits[0] for logits in _plain(headed[1], asked)], abs=1e-5)
    assert max(ours) - min(ours) > 0.01


def test_two_outputs_are_log_odds(headed: dict[int, str]) -> None:
    asked = requests(2, 10)
    ours = CrossEncoder(model=on_cpu(headed[2])).answer(asked)
    assert ours == pytest.approx([no_yes[1] - no_yes[0] for no_yes in _plain(headed[2], asked)], abs=1e-5)


def test_scores_do_not_depend_on_the_company(headed: dict[int, str]) -> None:
    asked = requests(3, 25)
    scorer = CrossEncoder(model=on_cpu(headed[1]))
    together = scorer.answer(asked)
    assert [scorer.answer([request])[0] for request in asked] == pytest.approx(together, abs=1e-5)
    assert scorer.answer(asked[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert scorer.answer([]) == []


def test_what_does_not_fit_is_cut_from_the_document_and_counted(headed: dict[int, str]) -> None:
    def ask(query: str, document: str) -> Pointwise:
        return Pointwise(Query("q", query), Candidate(Document("d", document), 0, 0.0))

    scorer = CrossEncoder(model=on_cpu(headed[1]))
    room = LENGTH - 3 - 2
    whole, longer = scorer.answer([ask("cat mat", "dog " * room), ask("cat mat", "dog " * room + "stock fell")])
    assert longer == pytest.approx(whole, abs=1e-5)
    assert scorer.usage.truncated_inputs == 1
    endless = scorer.answer([ask("cat " * 100, "dog"), ask("cat " * 100, "roses")])
    assert abs(endless[0] - endless[1]) > 1e-4  # an endless query leaves half of the room to the document
    assert scorer.usage.truncated_inputs == 3


def test_a_checkpoint_without_a_fitting_head_is_refused(
    headed: dict[int, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    bare = save(tmp_path_factory.mktemp("bare"))
    with pytest.raises(ConfigError, match=r"^model\.path: .*no trained scoring head.*classifier.*reranker=bi_encoder"):
        CrossEncoder(model=on_cpu(bare)).answer(requests(4, 1))
    with pytest.raises(ConfigError, match="has 3 outputs, not 1 or 2"):
        CrossEncoder(model=on_cpu(headed[3])).answer(requests(4, 1))


def test_the_fingerprint_is_of_the_weights(headed: dict[int, str]) -> None:
    one, two = (CrossEncoder(model=on_cpu(headed[n])).fingerprint() for n in (1, 2))
    assert one == CrossEncoder(model=on_cpu(headed[1])).fingerprint() != two
