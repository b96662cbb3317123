"""An encoder-decoder model's answers are those of plain forward passes, one prompt at a time."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.lm.language_model import EncodedPrompt, Sampling
from rerankbench.models.lm.seq2seq import Seq2SeqLM
from rerankbench.usage import Usage
from tests.models.toy_language_model import MONOT5, PAIR, QUESTION, on_cpu, texts


def _logits(lm: Seq2SeqLM, prompt: EncodedPrompt, decoder: list[int]) -> Any:
    import torch

    with torch.inference_mode():
        out = lm.network(input_ids=torch.tensor([prompt.ids]), decoder_input_ids=torch.tensor([decoder]))
    return torch.log_softmax(out.logits[0].float(), -1)


def _prompts(lm: Seq2SeqLM, n: int) -> list[EncodedPrompt]:
    documents = texts(4, n + 1)
    pointwise = [lm.encode(MONOT5, "what is red", [text]) for text in documents[: n // 2]]
    return pointwise + [lm.encode(PAIR, "roses", documents[i : i + 2]) for i in range(n // 2, n)]


def test_the_prompt_is_read_as_the_tokenizer_reads_it(t5_model: str) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model))
    prompt = lm.encode(MONOT5, "what is red", ["the cat"])
    assert list(prompt.ids) == lm.prompt_encoder.tokenizer("Query: what is red Document: the cat Relevant:").input_ids
    assert prompt.ids[-1] == lm.prompt_encoder.tokenizer.eos_token_id


@pytest.mark.parametrize("budget", [64, 4096])
def test_label_scores_equal_plain_passes(t5_model: str, budget: int) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model, batch_tokens=budget))
    prompts = _prompts(lm, 16)
    for labels in (["true", "false"], ["A", "B", "Yes"]):
        ids = [lm.prompt_encoder.tokenizer.convert_tokens_to_ids(f"▁{label}") for label in labels]
        passage = lm.prompt_encoder.tokenizer.convert_tokens_to_ids("▁Passage")
        for prompt, scores in zip(prompts, lm.label_scores(prompts, labels), strict=True):
            expected = _logits(lm, prompt, [0, passage] if prompt.start else [0])[-1][ids].tolist()
            ours = [score - scores[0] for score in scores if score is not None and scores[0] is not None]
            assert ours == pytest.approx([score - expected[0] for score in expected], abs=1e-4)


def test_log_likelihoods_equal_plain_passes(t5_model: str) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model))
    prompts = [lm.encode(QUESTION, "", [text]) for text in texts(5, 10)]
    continuations = [*texts(6, 9, longest=6), ""]
    found = lm.log_likelihoods(prompts, continuations)
    for prompt, text, score in zip(prompts, continuations, found, strict=True):
        added = lm.prompt_encoder.tokenizer(
            text, add_special_tokens=False
        ).input_ids  # no </s>: the query's tokens alone
        rows = _logits(lm, prompt, [0, *added[:-1]])
        expected = [float(row[i]) for row, i in zip(rows, added, strict=False)]
        assert score == pytest.approx(sum(expected) / len(expected) if expected else 0.0, abs=1e-4)
    sums = lm.log_likelihoods(prompts, continuations, total=True)
    assert all(total <= mean for total, mean in zip(sums, found, strict=True))


def test_generation_in_a_batch_is_generation_one_by_one(t5_model: str) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model))
    prompts = _prompts(lm, 10)
    assert lm.generate(prompts, 8) == [lm.generate([prompt], 8)[0] for prompt in prompts]


def test_samples_depend_on_prompt_and_seed_alone(t5_model: str) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model))
    prompts, sampling = _prompts(lm, 6), Sampling(n=2, temperature=2.0, seed=3)
    drawn = lm.generate(prompts, 6, sampling=sampling)
    assert len(set(drawn)) > 6
    assert drawn == [text for prompt in prompts for text in lm.generate([prompt], 6, sampling=sampling)]
    assert lm.generate(prompts, 6, sampling=Sampling(top_p=1e-6)) == lm.generate(prompts, 6)


def test_more_of_an_answer_is_read_by_the_decoder(t5_model: str) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model))
    prompt = lm.encode(MONOT5, "what", ["cat"])
    longer = lm.extended(prompt, "the cat is red.", "\n</think>")
    assert longer.ids == prompt.ids
    assert lm.label_scores([longer], ["true", "false"]) != lm.label_scores([prompt], ["true", "false"])


def test_usage_and_labels(t5_model: str) -> None:
    usage = Usage()
    lm = Seq2SeqLM(on_cpu(t5_model), usage)
    prompts = _prompts(lm, 4)
    lm.label_scores(prompts, ["A", "B"])
    read = sum(len(prompt.ids) for prompt in prompts)
    assert (usage.prompt_tokens, usage.forward_passes) == (read, 1)
    assert usage.padded_tokens == max(len(p.ids) for p in prompts) * len(prompts) - read
    with pytest.raises(ConfigError, match=r"^labels.*'Certainly'"):
        lm.label_scores(prompts, ["Certainly", "A"])


def test_the_document_is_cut_to_what_the_encoder_reads(t5_model: str) -> None:
    lm = Seq2SeqLM(on_cpu(t5_model, max_length=32))
    prompt = lm.encode(MONOT5, "what is red", ["cat " * 100], max_new_tokens=500)
    assert len(prompt.ids) == 32
    assert lm.readable(prompt).endswith("Relevant:</s>")
    assert lm.usage.truncated_inputs == 1
