"""Causal language models on vLLM in this process: paged attention, batches that refill, beginnings read once."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rerankbench.errors import ConfigError
from rerankbench.models.lm.language_model import Filled, LanguageModel
from rerankbench.models.lm.local import LocalLM
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.store import content_hash
from rerankbench.usage import Usage


@dataclass(frozen=True, kw_only=True)
class VLLM(Model):
    """A model as in `Model`, run by vLLM, which chooses the device and the batches itself.

    gpu_memory: the share of the memory that it may take. tensor_parallel: over how many devices the network is split.
    """

    gpu_memory: float = 0.9
    tensor_parallel: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            version("vllm")
        except PackageNotFoundError:
            raise ConfigError("model", "vLLM is not installed: pip install 'rerankbench[vllm]'") from None
        if not 0 < self.gpu_memory <= 1:
            raise ConfigError("gpu_memory", f"must lie in (0, 1], got {self.gpu_memory}")
        if self.tensor_parallel < 1:
            raise ConfigError("tensor_parallel", f"must be at least 1, got {self.tensor_parallel}")

    def language_model(self, usage: Usage) -> LanguageModel:
        """The network as a language model, loaded on first use."""
        return VllmLM(self, usage)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the weights, the number format, and that vLLM runs them: its kernels round differently."""
        return content_hash("vllm", super().fingerprint)


@dataclass
class VllmLM(LocalLM):
    """A language model on vLLM. A forward pass is counted for each prompt and each further generated token."""

    model: VLLM

    @functools.cached_property
    def network(self) -> Any:
        """The engine, started on first use."""
        from vllm import LLM

        try:
            return LLM(
                model=self.model.location,
                revision=self.model.revision,
                trust_remote_code=self.model.trust_remote_code,
                dtype=str(self.model.torch_dtype).removeprefix("torch."),
                max_model_len=self.filler.context,
                gpu_memory_utilization=self.model.gpu_memory,
                tensor_parallel_size=self.model.tensor_parallel,
                enable_prefix_caching=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError("model", f"vLLM cannot load {self.model.location!r}: {first}") from error

    def fill(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, new_tokens: int = 0
    ) -> Filled:
        """See LanguageModel; vLLM always generates a token, so there is room for one."""
        return super().fill(prompt, query, documents, top, max(1, new_tokens))

    def label_scores(self, prompts: Sequence[Filled], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: one token is generated, and the log-probabilities of the labels' tokens are read there."""
        ids = {tail: self.filler.label_ids(tail, labels) for tail in {prompt.tail for prompt in prompts}}
        rows = [ids[prompt.tail] for prompt in prompts]
        options = [{"max_tokens": 1, "logprob_token_ids": row} for row in rows]
        outputs = self._run([prompt.ids for prompt in prompts], options)
        scores: list[list[float | None]] = []
        for output, row in zip(outputs, rows, strict=True):
            found = output.outputs[0].logprobs[0]
            scores.append([float(found[i].logprob) if i in found else None for i in row])
        return scores

    def log_likelihoods(
        self, prompts: Sequence[Filled], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel."""
        added = [self.filler.continuation_ids(p.tail, text) for p, text in zip(prompts, continuations, strict=True)]
        asked = [index for index, ids in enumerate(added) if ids]
        rows = [(*prompts[index].ids, *added[index]) for index in asked]
        outputs = self._run(rows, [{"max_tokens": 1, "prompt_logprobs": 1}] * len(rows))
        scores = [0.0] * len(prompts)
        for index, output in zip(asked, outputs, strict=True):
            behind = output.prompt_logprobs[-len(added[index]) :]
            sums = sum(float(place[token].logprob) for place, token in zip(behind, added[index], strict=True))
            scores[index] = sums if total else sums / len(added[index])
        return scores

    def generate(self, prompts: Sequence[Filled], new_tokens: int, stop: Sequence[str] = ()) -> list[str]:
        """See LanguageModel."""
        option = {"max_tokens": new_tokens, "stop": list(stop) or None, "include_stop_str_in_output": True}
        outputs = self._run([prompt.ids for prompt in prompts], [option] * len(prompts))
        self.usage.generated_tokens += sum(len(output.outputs[0].token_ids) for output in outputs)
        return [str(output.outputs[0].text) for output in outputs]

    def _run(self, rows: Sequence[Sequence[int]], options: Sequence[dict[str, Any]]) -> list[Any]:
        from vllm import SamplingParams

        if not rows:
            return []
        outputs: list[Any] = self.network.generate(
            [{"prompt_token_ids": list(row)} for row in rows],
            [SamplingParams(temperature=0.0, **own) for own in options],
            use_tqdm=False,
        )
        self.usage.forward_passes += sum(len(output.outputs[0].token_ids) for output in outputs)
        self.usage.prompt_tokens += sum(map(len, rows))
        self.usage.reused_tokens += sum(output.num_cached_tokens or 0 for output in outputs)
        return outputs
