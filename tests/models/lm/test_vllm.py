"""What is asked of vLLM and what is read from it, with a stand-in that returns what its interface (0.33) documents.

The stand-in runs the same toy network on transformers, so the answers must be those of CausalLM.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.models.lm.causal import CausalLM
from rerankbench.models.lm.language_model import Sampling
from rerankbench.models.lm.load import language_model
from rerankbench.models.lm.vllm import VLLM
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.usage import Usage
from tests.models.toy_causal import save

PROMPT = Prompt(messages=({"role": "user", "content": "{{ document }} {{ query }}"},))
OPTIONS: dict[str, Any] = {"dtype": "float32", "device": "cpu"}


class _Engine:
    def __init__(self, model: str, dtype: str, max_model_len: int, **_: Any) -> None:
        assert (dtype, max_model_len) == ("float32", 4096)
        self.lm = CausalLM(Model(path=model, **OPTIONS))

    def generate(self, prompts: list[Any], sampling_params: list[Any], use_tqdm: bool) -> list[Any]:
        assert not use_tqdm
        return [self._one(p["prompt_token_ids"], own) for p, own in zip(prompts, sampling_params, strict=True)]

    def _sampled(self, own: Any) -> Any:
        """What was asked for, as the text of each answer."""
        text = " ".join(f"{name}={value}" for name, value in vars(own).items())
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=[3], text=text)] * own.n, num_cached_tokens=None)

    def _one(self, ids: list[int], own: Any) -> Any:
        import torch

        if own.temperature:
            return self._sampled(own)
        row, logits = list(ids), torch.empty(0)
        for _ in range(own.max_tokens):
            with torch.inference_mode():
                logits = self.lm.network(torch.tensor([row])).logits[0].float().log_softmax(-1)
            row.append(int(logits[-1].argmax()))
            if row[-1] == 2:
                break
        told = [None, *({t: SimpleNamespace(logprob=logits[i, t])} for i, t in enumerate(ids[1:]))]
        labels = {t: SimpleNamespace(logprob=logits[-1, t]) for t in getattr(own, "logprob_token_ids", ())}
        new = row[len(ids) :]
        one = SimpleNamespace(token_ids=new, text=self.lm.prompt_encoder.decode(new), logprobs=[labels])
        return SimpleNamespace(outputs=[one], prompt_logprobs=told, num_cached_tokens=None)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("vllm")
    module.LLM, module.SamplingParams = _Engine, SimpleNamespace  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)


def test_without_vllm_the_extra_to_install_is_named_when_the_network_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    lm = language_model(VLLM(path=save(tmp_path / "toy"), **OPTIONS), Usage())
    with pytest.raises(ConfigError, match=r"pip install 'rerankbench\[vllm\]'"):
        lm.generate([lm.encode(PROMPT, "query", ["a"])], 3)


@pytest.mark.usefixtures("installed")
def test_answers_are_those_of_the_same_network_on_transformers(tmp_path: Path) -> None:
    path = save(tmp_path / "toy")
    usage = Usage()
    one, other = language_model(VLLM(path=path, **OPTIONS), usage), CausalLM(Model(path=path, **OPTIONS))
    prompts = [one.encode(PROMPT, "query", [text]) for text in ("a", "some longer text", "")]
    assert [p.ids for p in prompts] == [other.encode(PROMPT, "query", [t]).ids for t in ("a", "some longer text", "")]
    labels = ["A", "B"]
    for mine, theirs in zip(one.label_scores(prompts, labels), other.label_scores(prompts, labels), strict=True):
        assert mine[0] - mine[1] == pytest.approx(theirs[0] - theirs[1], abs=1e-3)
    texts = ["yes", "", "a longer one"]
    for total in (False, True):
        assert one.log_likelihoods(prompts, texts, total) == pytest.approx(
            other.log_likelihoods(prompts, texts, total), abs=1e-3
        )
    assert one.generate(prompts, 6) == other.generate(prompts, 6)
    assert one.label_scores([], labels) == one.generate([], 3) == []
    assert usage.prompt_tokens > 0


@pytest.mark.usefixtures("installed")
def test_its_answers_are_told_apart_from_those_of_transformers(tmp_path: Path) -> None:
    path = save(tmp_path / "toy")
    assert VLLM(path=path, **OPTIONS).fingerprint != Model(path=path, **OPTIONS).fingerprint
    node = {"_target_": "rerankbench.models.lm.vllm.VLLM", "path": path, "gpu_memory": 1.5}
    with pytest.raises(ConfigError, match=r"^model\.gpu_memory: must be "):
        check(node, "model")


@pytest.mark.usefixtures("installed")
def test_sampling_is_passed_on_with_a_seed_for_each_prompt(tmp_path: Path) -> None:
    lm = language_model(VLLM(path=save(tmp_path / "toy"), **OPTIONS), Usage())
    prompts = [lm.encode(PROMPT, "query", [text]) for text in ("a", "b")]
    options: dict[str, Any] = {"n": 2, "temperature": 0.5, "top_p": 0.9}
    a, again, b, _ = lm.generate(prompts, 6, sampling=Sampling(**options, seed=1))
    assert a == again and {"n=2", "temperature=0.5", "top_p=0.9"} <= set(a.split())
    seeds = {text.split("seed=")[1].split()[0] for text in (a, b)}
    assert len(seeds) == 2
