"""The cross-encoder's scores are the plain network's, pair by pair."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from rerankbench.errors import ConfigError
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.training.groups import requests_of
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_language_model import save_llama
from tests.models.toy_model import LENGTH, on_cpu, requests, save
from tests.training.toy_groups import flat, groups, moved, scores

HEADED = "BertForSequenceClassification"
KINDS = ["one output", "two outputs", "no head", "decoder", "decoder without padding"]


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


def test_scores_do_not_depend_on_the_batch(headed: dict[int, str]) -> None:
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
    with pytest.raises(ConfigError, match=r"^path: .*no trained scoring head.*classifier.*reranker=bi_encoder"):
        CrossEncoder(model=on_cpu(bare)).answer(requests(4, 1))
    with pytest.raises(ConfigError, match="has 3 outputs, not 1 or 2"):
        CrossEncoder(model=on_cpu(headed[3])).answer(requests(4, 1))


def test_the_fingerprint_is_of_the_weights(headed: dict[int, str]) -> None:
    one, two = (CrossEncoder(model=on_cpu(headed[n])).fingerprint() for n in (1, 2))
    assert one == CrossEncoder(model=on_cpu(headed[1])).fingerprint() != two


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        "one output": save(folder / "one", HEADED),
        "two outputs": save(folder / "two", HEADED, outputs=2),
        "no head": save(folder / "none"),
        "decoder": save_llama(folder / "llama"),
        "decoder without padding": _without_padding(save_llama(folder / "bare")),
    }


def _without_padding(path: str) -> str:
    """The same checkpoint, which names no padding."""
    for name, key in (("config.json", "pad_token_id"), ("tokenizer_config.json", "pad_token")):
        file = Path(path) / name
        kept = {own: value for own, value in json.loads(file.read_text()).items() if own != key}
        file.write_text(json.dumps(kept))
    return path


def _for_training(path: str, seed: int = 0) -> CrossEncoder:
    torch.manual_seed(seed)
    return CrossEncoder(model=on_cpu(path)).for_training()


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_one_scores_as_in_training_and_other_libraries_agree(
    checkpoints: dict[str, str], kind: str, tmp_path: Path
) -> None:
    scorer, batch = _for_training(checkpoints[kind]), groups(3, 5, 2)
    before = flat(scores(scorer, batch))
    if "output" in kind:
        untrained = CrossEncoder(model=on_cpu(checkpoints[kind]))
        assert untrained.answer(requests_of(batch)) == pytest.approx(before, abs=1e-5)
    gradients = moved(scorer, batch, rate=1e-3)
    assert any("embed" in name for name in gradients)
    assert any(name.split(".")[0] in ("classifier", "score") for name in gradients)
    after = flat(scores(scorer, batch))
    assert after != pytest.approx(before, abs=1e-5), "a step changes what it says"

    scorer.save(tmp_path)
    scorer = replace(scorer, model=on_cpu(str(tmp_path)))
    assert scorer.answer(requests_of(batch)) == pytest.approx(after, abs=1e-5)

    from transformers import AutoModelForSequenceClassification

    _, report = AutoModelForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    sentence_transformers = pytest.importorskip("sentence_transformers")
    theirs: Any = sentence_transformers.CrossEncoder(str(tmp_path), device="cpu")
    pairs = [(group.query.text, document.text) for group in batch for document in group.documents]
    logits = theirs.predict(pairs)
    if logits.ndim == 2:
        logits = logits[:, 1] - logits[:, 0]
    assert logits.tolist() == pytest.approx(after, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_batch_does_not_change_scores_in_training(checkpoints: dict[str, str], kind: str) -> None:
    scorer, batch = _for_training(checkpoints[kind]), groups(3, 5, 2)
    whole = flat(scores(scorer, batch))
    assert flat(scores(scorer, batch, budget=1)) == pytest.approx(whole, abs=1e-5)
    turned = [*scores(scorer, batch[2:]), *scores(scorer, batch[:2])]
    assert flat(turned) == pytest.approx(whole[8:] + whole[:8], abs=1e-5)


def test_a_new_head_comes_from_the_seed(checkpoints: dict[str, str]) -> None:
    batch = groups(4)
    found = [scores(_for_training(checkpoints["no head"], seed), batch) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
