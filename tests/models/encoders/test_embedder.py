"""Embeddings are those of the plain network, one text at a time."""

from __future__ import annotations

import functools
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from rerankbench.models.encoders.embedder import Embedder, EmbeddingCache
from tests.models.toy_model import on_cpu, save, texts


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


def _states(path: str, text: str) -> Any:
    """The last hidden states of one text alone, [T, H]."""
    import torch

    tokenizer, network = _plain(path)
    with torch.inference_mode():
        return network(**tokenizer(text, return_tensors="pt", truncation=True)).last_hidden_state[0]


@functools.cache
def _plain(path: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    return AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("budget", [40, 2048])
def test_pooled_vectors_equal_the_plain_computation(
    saved: str, pooling: Literal["mean", "cls", "last"], budget: int
) -> None:
    import torch

    given = [*texts(1, 6, 40), "cat"]
    found = Embedder(on_cpu(saved, batch_tokens=budget), pooling).embed(given)
    for vector, text in zip(found, given, strict=True):
        states = _states(saved, text)
        plain = {"mean": states.mean(0), "cls": states[0], "last": states[-1]}[pooling]
        assert vector.tolist() == pytest.approx(torch.nn.functional.normalize(plain, dim=0).tolist(), abs=1e-5)


def test_token_vectors_equal_the_plain_computation(saved: str) -> None:
    import torch

    given = texts(2, 8)
    for (vectors, ids), text in zip(Embedder(on_cpu(saved)).embed_tokens(given), given, strict=True):
        expected = torch.nn.functional.normalize(_states(saved, text), dim=-1)
        assert len(ids) == len(vectors) == len(expected)
        assert torch.allclose(vectors, expected, atol=1e-5)


def test_no_texts_no_vectors(saved: str) -> None:
    assert len(Embedder(on_cpu(saved)).embed([])) == 0
    assert Embedder(on_cpu(saved)).embed_tokens([]) == []


def test_usage_counts_tokens_padding_and_what_was_cut(saved: str) -> None:
    embedder = Embedder(on_cpu(saved, max_length=8))
    embedder.embed(["cat", "cat dog", "cat " * 20])
    assert (embedder.usage.prompt_tokens, embedder.usage.padded_tokens) == (3 + 4 + 8, 5 + 4)
    assert (embedder.usage.forward_passes, embedder.usage.truncated_inputs) == (1, 1)


def test_the_checkpoint_says_how_it_pools_and_how_much_it_reads(saved: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "st"))
    assert Embedder(on_cpu(str(folder))).pooling_mode == "mean"
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 12}))
    embedder = Embedder(on_cpu(str(folder)))
    assert (embedder.pooling_mode, embedder.max_length) == ("cls", 12)
    assert Embedder(on_cpu(str(folder), max_length=20), "last").max_length == 20
    assert Embedder(on_cpu(str(folder)), "last").pooling_mode == "last"


def test_an_empty_text_has_a_vector_without_special_tokens_too(tmp_path: Path) -> None:
    embedder = Embedder(on_cpu(save(tmp_path / "plain", special=False)))
    assert embedder.encoder.tokenizer.single.size == 0
    together = embedder.embed(["", "cat dog mat", "cat"])
    assert together.isfinite().all()
    for vector, text in zip(together, ["", "cat dog mat", "cat"], strict=True):
        assert vector.tolist() == pytest.approx(embedder.embed([text])[0].tolist(), abs=1e-5)


def test_colberts_projection_is_applied(saved: str, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(saved, tmp_path / "colbert"))
    weights = load_file(folder / "model.safetensors")
    linear = torch.randn(4, 16)
    save_file({**weights, "linear.weight": linear}, folder / "model.safetensors", metadata={"format": "pt"})
    ((vectors, _),) = Embedder(on_cpu(str(folder))).embed_tokens(["cat dog"])
    expected = torch.nn.functional.normalize(_states(saved, "cat dog") @ linear.T, dim=-1)
    assert torch.allclose(vectors, expected, atol=1e-5)


def test_the_cache_drops_the_least_recently_used_only_when_trimmed() -> None:
    import torch

    cache = EmbeddingCache(capacity=3)
    cache["a"], cache["b"], cache["c"] = torch.zeros(2, 5), torch.zeros(5), torch.zeros(2, 5)
    assert all(text in cache for text in "abc")
    _ = cache["a"]
    cache.trim()
    assert ["a" in cache, "b" in cache, "c" in cache, cache.currsize] == [True, False, False, 2]


def test_a_text_is_always_embedded_in_the_same_batch() -> None:
    cache = EmbeddingCache(capacity=3)
    cache.assign_batches(["a", "b", "a"])
    cache.assign_batches(["b", "c"])
    assert cache.missing_batches(["c", "a", "d"]) == [("c",), ("a", "b"), ("d",)]
    for text in "abcd":
        cache[text] = torch.zeros(2)
    assert cache.missing_batches(["a", "c"]) == []
    cache.trim()
    assert cache.missing_batches(["a"]) == [("a", "b")], "dropped, and embedded again with b"
