"""Encoders: every text tokenised once, batches of similar lengths under a token budget, hardly any padding."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rerankbench.batching import token_batches
from rerankbench.errors import ConfigError, key_of
from rerankbench.models.model import Model
from rerankbench.usage import Usage

if TYPE_CHECKING:
    import torch

    Forward = Callable[[Sequence["Encoded"]], torch.Tensor | Sequence[torch.Tensor]]


@dataclass(frozen=True)
class Template:
    """The special tokens around one or two texts, with their segment ids, as the tokenizer puts them."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    segments: tuple[int, int, int, int, int]
    """Segment ids of: before, first text, between, second text, after."""

    @property
    def size(self) -> int:
        """How many special tokens an input has."""
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(frozen=True)
class Encoded:
    """One input as the network reads it: token ids and segment ids, of equal length."""

    ids: list[int]
    segments: list[int]


class Tokenizer:
    """A fast tokenizer that reads each text once, however many pairs it is part of."""

    def __init__(self, model: Model) -> None:
        from transformers import AutoTokenizer

        self.backend: Any = model.load(AutoTokenizer.from_pretrained)
        if not self.backend.is_fast:
            raise ConfigError(key_of(model, "path"), f"{model.location} has no fast tokenizer (tokenizer.json)")
        self.backend.backend_tokenizer.no_truncation()  # a checkpoint may set them; lengths are decided here
        self.backend.backend_tokenizer.no_padding()
        self._ids: dict[str, list[int]] = {}
        self.uses_segments = "token_type_ids" in self.backend.model_input_names

    def read(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids of each text, without special tokens; only texts not seen before are tokenised."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._ids]:
            if len(self._ids) > 200_000:  # bounds memory; a text read again is only slower
                self._ids.clear()
                new = list(dict.fromkeys(texts))
            encodings = self.backend.backend_tokenizer.encode_batch_fast(new, add_special_tokens=False)
            self._ids.update((text, encoding.ids) for text, encoding in zip(new, encodings, strict=True))
        return [self._ids[text] for text in texts]

    @functools.cached_property
    def single(self) -> Template:
        """The template of one text."""
        return self._template("a")

    @functools.cached_property
    def pair(self) -> Template:
        """The template of two texts."""
        return self._template("a", "b")

    def _template(self, *texts: str) -> Template:
        encoding = self.backend.backend_tokenizer.encode(*texts)
        parts: list[list[int]] = [[], [], [], [], []]
        segments = [0] * 5
        part = 0
        for token, sequence, segment in zip(encoding.ids, encoding.sequence_ids, encoding.type_ids, strict=True):
            part = 2 * sequence + 1 if sequence is not None else part + part % 2
            parts[part].append(token)
            segments[part] = segment
        if len(texts) == 1:
            parts[4], segments[4], parts[2] = parts[2], segments[2], []
        first, second, third, fourth, fifth = segments
        return Template(tuple(parts[0]), tuple(parts[2]), tuple(parts[4]), (first, second, third, fourth, fifth))

    def assemble(self, template: Template, first: list[int], second: list[int] | None = None) -> Encoded:
        """One input from the ids of its texts."""
        second = second or []
        ids = [*template.before, *first, *template.between, *second, *template.after]
        sizes = (len(template.before), len(first), len(template.between), len(second), len(template.after))
        segments = [segment for segment, size in zip(template.segments, sizes, strict=True) for _ in range(size)]
        return Encoded(ids, segments)


@dataclass
class Encoder:
    """Runs a network over inputs in token-budget batches, counting what it does."""

    network: Any
    tokenizer: Tokenizer
    model: Model
    usage: Usage

    @functools.cached_property
    def max_length(self) -> int:
        """Tokens an input may have: configured, else the smallest limit that the checkpoint states."""
        positions = int(getattr(self.network.config, "max_position_embeddings", 0) or 1 << 20)
        if self.network.config.model_type in ("roberta", "xlm-roberta", "camembert", "mpnet"):
            positions -= 2  # these count positions from the padding index
        if wanted := self.model.max_length:
            if wanted > positions and any(n.endswith("position_embeddings") for n, _ in self.network.named_modules()):
                problem = f"{self.model.location} reads at most {positions} tokens"
                raise ConfigError(key_of(self.model, "max_length"), problem)
            return wanted
        return min(positions, int(self.tokenizer.backend.model_max_length))

    @property
    def budget(self) -> int:
        """Padded tokens in a batch. On a CPU, where nothing is configured, 512 a thread: what its cache holds."""
        import torch

        if self.model.batch_tokens or self.model.torch_device.type != "cpu":
            return self.model.tokens_per_batch
        return min(self.model.tokens_per_batch, 512 * torch.get_num_threads())

    def padded(self, inputs: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        """The network's keyword arguments for these inputs, each [B, T], padded on the right, on its device."""
        import torch

        width = max(len(item.ids) for item in inputs)
        padding = self.tokenizer.backend.pad_token_id or 0
        rows: dict[str, list[list[int]]] = {
            "input_ids": [item.ids + [padding] * (width - len(item.ids)) for item in inputs],
            "attention_mask": [[1] * len(item.ids) + [0] * (width - len(item.ids)) for item in inputs],
        }
        if self.tokenizer.uses_segments:
            rows["token_type_ids"] = [item.segments + [0] * (width - len(item.ids)) for item in inputs]
        device = self.network.device
        return {name: torch.tensor(values, device=device) for name, values in rows.items()}

    def run(self, inputs: Sequence[Encoded], forward: Forward) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield (index of the input, its part of `forward`'s output), batch by batch, longest inputs first.

        `forward` takes the inputs of a batch and returns something to index by input.
        """
        import torch

        lengths = [len(item.ids) for item in inputs]
        for batch in token_batches(lengths, self.budget):
            with torch.inference_mode():
                outputs = forward([inputs[i] for i in batch])
            self.usage.forward_passes += 1
            self.usage.prompt_tokens += sum(lengths[i] for i in batch)
            self.usage.padded_tokens += sum(lengths[batch[0]] - lengths[i] for i in batch)
            yield from zip(batch, outputs, strict=True)


def load_scoring_encoder(model: Model, usage: Usage) -> tuple[Encoder, dict[str, Any]]:
    """See `load_encoder`: the network with its scoring head; one that has none gets one output, of random weights."""
    has_head = any("ForSequenceClassification" in name for name in model.config.architectures or ())
    arguments = {} if has_head else {"num_labels": 1}  # adapters may bring what belongs into it
    return load_encoder(model, "AutoModelForSequenceClassification", usage, **arguments)


def load_encoder(model: Model, auto_class: str, usage: Usage, **arguments: Any) -> tuple[Encoder, dict[str, Any]]:
    """The network loaded through this transformers auto class, ready to run, and transformers' loading report.

    arguments: more for `from_pretrained`, such as `num_labels`.
    """
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    tokenizer = Tokenizer(model)
    network, report = model.load(
        getattr(transformers, auto_class).from_pretrained,
        dtype=model.torch_dtype,
        output_loading_info=True,
        use_safetensors=True,
        **arguments,
    )
    if adapters := model.applied_adapters():
        from rerankbench.models.adapters.difference import apply_differences

        applied = apply_differences(network, adapters, key_of(model, "adapters"))
        report["missing_keys"] = set(report["missing_keys"]) - applied.head
    return Encoder(network.to(model.torch_device).eval(), tokenizer, model, usage), report
