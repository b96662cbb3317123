"""Yes or no: the log of a softmax over two labels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from rerankbench.errors import ConfigError, key_of, tell_place
from rerankbench.models.endpoint.endpoint import Endpoint
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure, Pointwise
from rerankbench.rerankers.scorers.yes_no import YesNo
from tests.models.toy_language_model import MONOT5, YES_NO, on_cpu, save_llama
from tests.rerankers.scorers.asked import Said, pointwise


def _plain(scorer: YesNo, request: Any, words: list[str]) -> float:
    import torch

    lm: Any = scorer.language_model
    ids = list(scorer.encode_prompt(request).ids)
    with torch.inference_mode():
        if lm.network.config.is_encoder_decoder:
            logits = lm.network(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0]])).logits
        else:
            logits = lm.network(torch.tensor([ids])).logits
    two = logits[0, -1, lm.prompt_encoder.tokenizer.convert_tokens_to_ids(words)].float()
    return float(torch.log_softmax(two, -1)[0])


@pytest.mark.parametrize(
    ("kind", "prompt", "words"),
    [("chat_model", YES_NO, ["Yes", "No"]), ("plain_model", YES_NO, ["ĠYes", "ĠNo"]),
     ("t5_model", MONOT5, ["▁true", "▁false"])],
)  # fmt: skip
def test_scores_are_those_of_plain_passes(
    kind: str, prompt: Prompt, words: list[str], request: pytest.FixtureRequest
) -> None:
    scorer = YesNo(model=on_cpu(request.getfixturevalue(kind)), prompt=prompt)
    requests = pointwise(20)
    scores = scorer.answer(requests)
    assert scores == pytest.approx([_plain(scorer, one, words) for one in requests], abs=1e-4)
    assert all(score <= 0 for score in scores)
    assert scorer.answer(requests[::-1])[::-1] == pytest.approx(scores, abs=1e-4)


def test_certain_answers_do_not_tie() -> None:
    margins = iter([50.0, 60.0, -800.0, -900.0])
    model: Any = Said(scores=lambda prompt, labels: [next(margins), 0.0])
    high, higher, low, lower = YesNo(model=model, prompt=YES_NO).answer(pointwise(4))
    assert lower < low < high < higher < 0


def test_a_label_that_is_not_told_is_a_failure() -> None:
    model: Any = Said(scores=lambda prompt, labels: [0.0, None])
    assert YesNo(model=model, prompt=YES_NO).answer(pointwise(1)) == [Failure("no label")]


@pytest.mark.parametrize("labels", [None, ["Yes"], ["Yes", "No", "Perhaps"]])
def test_two_labels_are_needed(labels: list[str] | None) -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match=r"^prompt\.labels: must be two"):
        YesNo(model=model, prompt=Prompt(messages=[{"content": "{{ query }}"}], labels=labels))


def test_nothing_is_finite_but_probability() -> None:
    model: Any = Said(scores=lambda prompt, labels: [math.log(0.3), math.log(0.7)])
    assert YesNo(model=model, prompt=YES_NO).answer(pointwise(1)) == [pytest.approx(math.log(0.3))]


@pytest.fixture(scope="module", params=["apart", "tied"])
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder whose output layer is its own, or the embeddings."""
    return save_llama(tmp_path_factory.mktemp("llama"), tie_word_embeddings=request.param == "tied")


def _training_scores(scorer: YesNo, requests: list[Pointwise], size: int = 100) -> Any:
    items = scorer.inputs(requests)
    batches = [items[start : start + size] for start in range(0, len(items), size)]
    return scorer.scores(requests, [output for batch in batches for output in scorer.forward(batch)])


def test_training_scores_are_the_scorers_before_and_after_a_step(decoder: str, tmp_path: Path) -> None:
    import torch

    scorer = YesNo(model=on_cpu(decoder), prompt=YES_NO)
    trained, requests = scorer.for_training(), pointwise(9)
    log_sigmoid = torch.nn.functional.logsigmoid
    before = _training_scores(trained, requests)
    assert scorer.answer(requests) == pytest.approx(log_sigmoid(before).tolist(), abs=1e-5)
    (before[0] - before[1:].sum()).backward()
    torch.optim.SGD(trained.module.parameters(), lr=1e-3).step()
    assert any("embed_tokens" in name for name, p in trained.module.named_parameters() if bool(p.grad.any()))
    after = _training_scores(trained, requests).detach()
    assert after.tolist() != pytest.approx(before.tolist(), abs=1e-4), "a step changes what it says"

    trained.save(tmp_path)
    saved = YesNo(model=on_cpu(str(tmp_path)), prompt=YES_NO)
    assert saved.answer(requests) == pytest.approx(log_sigmoid(after).tolist(), abs=1e-5)

    from transformers import AutoModelForCausalLM

    _, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


def test_training_scores_are_batch_invariant(decoder: str) -> None:
    scorer, requests = YesNo(model=on_cpu(decoder), prompt=YES_NO).for_training(), pointwise(8)
    whole = _training_scores(scorer, requests).tolist()
    assert _training_scores(scorer, requests, 1).tolist() == pytest.approx(whole, abs=1e-5)
    assert _training_scores(scorer, requests[::-1]).tolist()[::-1] == pytest.approx(whole, abs=1e-5)


def test_a_copy_for_training_is_in_float32_and_knows_its_place(decoder: str) -> None:
    scorer = YesNo(model=Model(path=decoder, device="cpu", dtype="bfloat16"), prompt=YES_NO)
    tell_place(scorer, "reranker.scorer")
    tell_place(scorer.model, "reranker.scorer.model")
    trained = scorer.for_training()
    assert str(trained.module.dtype) == "torch.float32"
    assert key_of(trained, "prompt") == "reranker.scorer.prompt"
    assert key_of(trained.model, "path") == "reranker.scorer.model.path"


def test_only_a_decoder_on_this_machine_can_be_trained(t5_model: str) -> None:
    endpoint: Any = Endpoint(url="http://127.0.0.1:9/v1", name="m")
    for model, prompt in ((on_cpu(t5_model), MONOT5), (endpoint, YES_NO)):
        with pytest.raises(ConfigError, match="causal language model on this machine to be trained"):
            YesNo(model=model, prompt=prompt).for_training()
