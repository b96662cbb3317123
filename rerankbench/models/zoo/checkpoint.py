"""A neural ranker in a folder: `neural.json` (what it is), `model.safetensors` (all learnt weights) and a tokenizer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.encoders.embedder import json_beside
from rerankbench.models.zoo.network import Network, Sizes
from rerankbench.models.zoo.ranker import ranker

if TYPE_CHECKING:
    import torch

    from rerankbench.models.encoders.encoder import Tokenizer
    from rerankbench.models.model import Model

FILE = "neural.json"
SCHEMA = 1


def described(network: Network, max_query: int, max_document: int) -> dict[str, Any]:
    """The network's kind and sizes, and the longest inputs, as JSON."""
    sizes = asdict(network)  # type: ignore[call-overload]
    return {"kind": type(network).__name__, "sizes": sizes, "max_query": max_query, "max_document": max_document}


def is_trained(model: Model) -> bool:
    """Whether the model is the checkpoint of a neural ranker, of any kind."""
    return bool(json_beside(model, FILE))


def new_ranker(
    model: Model, network: Network, tokenizer: Tokenizer, max_query: int, max_document: int
) -> torch.nn.Module:
    """Fresh layers on the input embeddings, scaled to numbers of mean square 1, of any encoder; every idf is 1."""
    import torch
    import transformers

    table = torch.zeros(0, 0)
    if network.embeddings != "none":
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        encoder = model.load(transformers.AutoModel.from_pretrained, dtype=torch.float32, use_safetensors=True)
        table = encoder.get_input_embeddings().weight.detach()
        # Encoders keep small numbers there (0.05 in BERT): convolutions of them begin near zero, and steps of Adam,
        # which are absolute, would soon erase them.
        table = table / table.square().mean().sqrt()
    idf = torch.ones(len(tokenizer.backend))
    return ranker(network, _sizes(tokenizer, table, max_query, max_document), table, idf).to(model.torch_device)


def load_ranker(
    model: Model, network: Network, tokenizer: Tokenizer, max_query: int, max_document: int
) -> torch.nn.Module:
    """The trained network, on the model's device, in evaluation mode.

    Raises ConfigError where the model is none, or is one of another kind or size than configured.
    """
    import torch

    stored, key = json_beside(model, FILE), key_of(model, "path")
    if not stored:
        option = type(network).__module__.rpartition(".")[2]
        way = f"train one with `rerankbench train recipe=neural reranker={option}`"
        raise ConfigError(key, f"{model.location} has no trained neural ranker; {way}")
    if stored.pop("schema", None) != SCHEMA:
        raise ConfigError(key, f"{model.location} was written by another version of rerankbench")
    for name, value in described(network, max_query, max_document).items():
        if stored.get(name) != value:
            raise ConfigError(key, f"{model.location} was trained with {name}={stored.get(name)}, not {value}")
    weights = model.load(_weights)
    table = weights.get("table", torch.zeros(0, 0))
    trained = ranker(network, _sizes(tokenizer, table, max_query, max_document), table, weights["idf"])
    trained.load_state_dict(weights)
    return trained.to(model.torch_device).eval()


def save_ranker(
    folder: Path, trained: torch.nn.Module, network: Network, tokenizer: Tokenizer, max_query: int, max_document: int
) -> None:
    """Write the three into the folder, for `load_ranker`."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in trained.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.backend.save_pretrained(folder)
    content = {"schema": SCHEMA, **described(network, max_query, max_document)}
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _sizes(tokenizer: Tokenizer, table: torch.Tensor, max_query: int, max_document: int) -> Sizes:
    tokens = tokenizer.backend.convert_ids_to_tokens(range(len(tokenizer.backend)))
    return Sizes(tuple(token or "" for token in tokens), table.shape[1], max_query, max_document)


def _weights(location: str, revision: str | None, trust_remote_code: bool) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file
    from transformers.utils.hub import cached_file

    return load_file(cached_file(location, "model.safetensors", revision=revision))
