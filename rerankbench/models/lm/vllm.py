"""Causal language models on vLLM in this process: paged attention, continuous batching, automatic prefix caching."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Interval

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.lm.language_model import EncodedPrompt, LanguageModel, Sampling
from rerankbench.models.lm.local import LocalLM
from rerankbench.models.lm.sampling import prompt_seed
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.store import content_hash
from rerankbench.usage import Usage


@dataclass(frozen=True, kw_only=True)
class VLLM(Model):
    """A model as in `Model`, run by vLLM, which chooses the device and the batches itself.

    gpu_memory: the share of the memory that it may take. tensor_parallel: the devices the network is split over.
    """

    gpu_memory: Annotated[float, Interval(gt=0, le=1)] = 0.9
    tensor_parallel: Annotated[int, Ge(1)] = 1

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
        """The engine, started on first use. Raises ConfigError where vLLM is not installed."""
        key = key_of(self.model, "") or "model"
        try:
            from vllm import LLM
        except ModuleNotFoundError:
            raise ConfigError(key, "vLLM is not installed: pip install 'rerankbench[vllm]'") from None
        try:
            return LLM(
                model=self.model.location,
                revision=self.model.revision,
                trust_remote_code=self.model.trust_remote_code,
                dtype=str(self.model.torch_dtype).removeprefix("torch."),
                max_model_len=self.prompt_encoder.context,
                gpu_memory_utilization=self.model.gpu_memory,
                tensor_parallel_size=self.model.tensor_parallel,
                enable_prefix_caching=True,
            )
        except (OSError, ValueError, RuntimeError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(key, f"vLLM cannot load {self.model.location!r}: {first}") from error

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> EncodedPrompt:
        """See LanguageModel; vLLM always generates a token, so at least one must fit."""
        return super().encode(prompt, query, documents, top, max(1, max_new_tokens))

    def label_scores(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[float | None]]:
        """See LanguageModel: one token is generated, and the log-probabilities of the labels' tokens are read there."""
        rows = self.prompt_encoder.label_ids(prompts, labels)
        options = [{"max_tokens": 1, "logprob_token_ids": row} for row in rows]
        scores: list[list[float | None]] = []
        for output, row in zip(self._run([prompt.ids for prompt in prompts], options), rows, strict=True):
            known = output.outputs[0].logprobs[0]
            scores.append([float(known[i].logprob) if i in known else None for i in row])
        return scores

    def log_likelihoods(
        self, prompts: Sequence[EncodedPrompt], continuations: Sequence[str], total: bool = False
    ) -> list[float]:
        """See LanguageModel."""
        added, asked = self.prompt_encoder.continuations(prompts, continuations)
        rows = [(*prompts[index].ids, *added[index]) for index in asked]
        outputs = self._run(rows, [{"max_tokens": 1, "prompt_logprobs": 1}] * len(rows))
        scores = [0.0] * len(prompts)
        for index, output in zip(asked, outputs, strict=True):
            known = output.prompt_logprobs[-len(added[index]) :]
            sums = sum(float(position[token].logprob) for position, token in zip(known, added[index], strict=True))
            scores[index] = sums if total else sums / len(added[index])
        return scores

    def generate(
        self,
        prompts: Sequence[EncodedPrompt],
        max_new_tokens: int,
        stop: Sequence[str] = (),
        sampling: Sampling | None = None,
    ) -> list[str]:
        """See LanguageModel."""
        option: dict[str, Any] = {"max_tokens": max_new_tokens, "include_stop_str_in_output": True}
        option["stop"] = list(stop) or None
        if sampling:
            option.update(n=sampling.n, temperature=sampling.temperature, top_p=sampling.top_p)
        options = [{**option, "seed": prompt_seed(sampling, p.ids)} if sampling else option for p in prompts]
        outputs = self._run([prompt.ids for prompt in prompts], options)
        answers = [answer for output in outputs for answer in output.outputs]
        self.usage.generated_tokens += sum(len(answer.token_ids) for answer in answers)
        return [str(answer.text) for answer in answers]

    def _run(self, rows: Sequence[Sequence[int]], options: Sequence[dict[str, Any]]) -> list[Any]:
        """vLLM's outputs for prompts of these ids; greedy where the options say nothing else."""
        if not rows:
            return []
        network = self.network
        from vllm import SamplingParams

        outputs: list[Any] = network.generate(
            [{"prompt_token_ids": list(row)} for row in rows],
            [SamplingParams(**{"temperature": 0.0, **own}) for own in options],
            use_tqdm=False,
        )
        self.usage.forward_passes += sum(len(answer.token_ids) for output in outputs for answer in output.outputs)
        self.usage.prompt_tokens += sum(map(len, rows))
        self.usage.reused_tokens += sum(output.num_cached_tokens or 0 for output in outputs)
        return outputs
