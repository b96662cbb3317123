"""Adapters at inference: composed in any order, split between query and document, removed without a trace."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankbench.errors import ConfigError, DataError
from rerankbench.models.adapters import bottleneck
from rerankbench.models.adapters.difference import (
    Difference,
    apply_differences,
    base_fingerprint,
    base_parameters,
    load_difference,
    save_difference,
)
from tests.training.adaptation.toy_training import batch, network, outputs, values

SEGMENTS = torch.tensor([[0] * 5 + [1] * 6] * 4)


def _sparse(folder: Path, net: Any, seed: int, head: bool = False) -> str:
    """A difference at random elements of every weight."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, parameter in base_parameters(net):
        index = torch.randperm(parameter.numel(), generator=generator)[:7].sort().values
        tensors |= {f"index/{name}": index, f"value/{name}": torch.randn(len(index), generator=generator)}
    weights = {"classifier.weight": torch.full((1, 16), float(seed)), "classifier.bias": torch.zeros(1)}
    save_difference(folder, Difference("sparse", base_fingerprint(net), tensors, weights if head else {}))
    return str(folder)


def _bottleneck(folder: Path, net: Any, seed: int, middle: int = 4, coupled: bool = False) -> str:
    """An adapter with random weights."""
    generator = torch.Generator().manual_seed(seed)
    adapters = {n: bottleneck.bottleneck(16, middle) for n in bottleneck.feed_forward_modules(net)}
    if coupled:
        adapters[bottleneck.EMBEDDINGS] = bottleneck.coupling(16, 4)
    tensors = {
        f"{module}/{name}": torch.randn(tensor.shape, generator=generator)
        for module, adapter in adapters.items()
        for name, tensor in adapter.state_dict().items()
    }
    save_difference(folder, Difference("bottleneck", base_fingerprint(net), tensors, {}))
    return str(folder)


@pytest.mark.parametrize("kind", ["bert", "bert_score", "bert_words", "llama", "llama_score"])
def test_removing_adapters_restores_every_bit_and_every_name(kind: str, tmp_path: Path) -> None:
    net = network(kind)
    before, there, names = values(net), outputs(net), set(net.state_dict())
    one, two, three = (_bottleneck(tmp_path / f"b{i}", net, i, coupled=True) for i in range(3))
    has_language_model_head = kind in ("bert_words", "llama")  # before which a split of couplings cannot be undone
    apply_differences(net, [one, two] if has_language_model_head else [one, two, [one, three]])
    segments = {"token_type_ids": SEGMENTS} if kind.startswith("bert") else {}
    assert not torch.allclose(outputs(net, **segments), there, atol=1e-2)
    bottleneck.remove_adapters(net)
    assert torch.equal(outputs(net), there)
    assert set(net.state_dict()) == names
    assert all(torch.equal(parameter, before[name]) for name, parameter in net.named_parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_sparse_differences_are_added_in_any_order(tmp_path: Path) -> None:
    paths = [_sparse(tmp_path / str(i), network("bert"), i) for i in range(3)]
    results = []
    for order in itertools.permutations(paths):
        net = network("bert")
        apply_differences(net, order)
        results.append(values(net))
    expected = {n: p.detach().double() for n, p in network("bert").named_parameters()}
    for path in paths:
        tensors = load_difference(path).tensors
        for name, total in expected.items():
            total.view(-1).index_add_(0, tensors[f"index/{name}"], tensors[f"value/{name}"].double())
    for name, total in expected.items():
        torch.testing.assert_close(results[0][name].double(), total, atol=1e-6, rtol=1e-6)
        assert all(torch.allclose(results[0][name], other[name], atol=1e-6, rtol=0) for other in results)


def test_bottlenecks_are_stacked_in_the_order_given(tmp_path: Path) -> None:
    one, two = (_bottleneck(tmp_path / str(i), network("bert"), i) for i in range(2))
    results = []
    for paths in ([one, two], [two, one], [one]):
        net = network("bert")
        apply_differences(net, paths)
        results.append(outputs(net))
    assert not any(torch.allclose(a, b, atol=1e-3) for a, b in itertools.combinations(results, 2))

    net = network("bert")
    apply_differences(net, [one, two])
    module = net.encoder.layer[0].output
    first, second = (load_difference(path).tensors for path in (one, two))
    probe = torch.randn(2, 3, 16, generator=torch.Generator().manual_seed(1))
    plain = probe
    for tensors in (first, second):
        part = {n: tensors[f"encoder.layer.0.output/{n}"] for n in ("down.weight", "down.bias", "up.weight", "up.bias")}
        low = (plain @ part["down.weight"].T + part["down.bias"]).relu()
        plain = plain + low @ part["up.weight"].T + part["up.bias"]
    torch.testing.assert_close(bottleneck._adapt(module, None, probe), plain)


def test_a_split_gives_the_query_one_adapter_and_the_document_the_other(tmp_path: Path) -> None:
    net = network("bert")
    one, two = (_bottleneck(tmp_path / str(i), net, i, coupled=True) for i in range(2))
    seen: dict[str, torch.Tensor] = {}
    for name, paths in {"split": [[one, two]], "query": [one], "document": [two], "same": [[one, one]]}.items():
        apply_differences(net, paths)
        handle = net.embeddings.register_forward_hook(lambda m, i, output, name=name: seen.__setitem__(name, output))
        seen[f"{name} out"] = outputs(net, token_type_ids=SEGMENTS)
        handle.remove()
        bottleneck.remove_adapters(net)
    # The embeddings do not mix tokens, so there the split is exact.
    assert torch.equal(seen["split"][:, :5], seen["query"][:, :5])
    assert torch.equal(seen["split"][:, 5:], seen["document"][:, 5:])
    assert not torch.allclose(seen["query"], seen["document"], atol=1e-3)
    assert torch.equal(seen["same out"], seen["query out"])
    assert not torch.allclose(seen["split out"], seen["document out"], atol=1e-3)


def test_without_segments_the_document_begins_after_the_first_separator(tmp_path: Path) -> None:
    net = network("llama_score")
    net.config.eos_token_id = 39
    one, two = (_bottleneck(tmp_path / str(i), net, i) for i in range(2))
    apply_differences(net, [[one, two]])
    ids = batch()["input_ids"].clamp(max=38)
    ids[:, 3], ids[:, 8] = 39, 39
    net(input_ids=ids)
    expected = torch.tensor([[False] * 4 + [True] * 7] * 4)
    assert torch.equal(net.model.layers[0].mlp.is_document, expected)


def test_couplings_are_undone_before_a_language_model_head(tmp_path: Path) -> None:
    net = network("bert_words")
    path = _bottleneck(tmp_path / "a", net, 0, coupled=True)
    only_couplings = Difference(
        "bottleneck",
        base_fingerprint(net),
        {n: t for n, t in load_difference(path).tensors.items() if n.startswith("embeddings/")},
        {},
    )
    save_difference(tmp_path / "c", only_couplings)
    apply_differences(net, [str(tmp_path / "c")])
    seen: dict[str, torch.Tensor] = {}
    net.bert.encoder.register_forward_pre_hook(lambda m, inputs: seen.update(coupled=inputs[0]))
    outputs(net)
    (inverted,) = bottleneck._invert(net.bert.embeddings, None, (seen["coupled"],))
    bottleneck.remove_adapters(net)
    torch.testing.assert_close(inverted, net.bert.embeddings(batch()["input_ids"]), atol=1e-5, rtol=1e-5)


def test_a_copy_includes_the_adapters(tmp_path: Path) -> None:
    net = network("bert_words")
    apply_differences(net, [_bottleneck(tmp_path / "a", net, 0, coupled=True)])
    there = outputs(net)
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if ".adapters." in name:
                parameter.zero_()
    assert torch.equal(outputs(copied), there)
    assert not torch.allclose(outputs(net), there, atol=1e-3)


def test_the_base_is_recognised_under_any_head_and_in_bfloat16_and_no_other_is() -> None:
    net = network("bert_score")
    masked_lm = network("bert_words")
    masked_lm.bert.load_state_dict(net.bert.state_dict(), strict=False)
    assert base_fingerprint(net) == base_fingerprint(masked_lm) == base_fingerprint(net.bert)
    assert base_fingerprint(net) == base_fingerprint(copy.deepcopy(net).to(torch.bfloat16))
    with torch.no_grad():
        masked_lm.bert.encoder.layer[2].output.dense.weight[3, 3] += 0.1
    assert base_fingerprint(net) != base_fingerprint(masked_lm)
    with pytest.raises(ConfigError, match="float16") as caught:
        apply_differences(network("bert").half(), [], "model.adapters")
    assert caught.value.key == "model.adapters"


def test_a_bfloat16_network_takes_adapters(tmp_path: Path) -> None:
    paths = [_sparse(tmp_path / "s", network("bert"), 0), _bottleneck(tmp_path / "b", network("bert"), 1)]
    net = network("bert").to(torch.bfloat16)
    apply_differences(net, paths)
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}
    assert outputs(net).isfinite().all()


def test_the_head_is_set_where_the_network_has_it_and_reported(tmp_path: Path) -> None:
    path = _sparse(tmp_path / "a", network("bert_score"), 3, head=True)
    scorer, plain = network("bert_score"), network("bert")
    assert apply_differences(scorer, [path]).head == {"classifier.weight", "classifier.bias"}
    assert scorer.classifier.weight.eq(3).all()
    plain.load_state_dict(network("bert_score").bert.state_dict())
    assert apply_differences(plain, [path]).head == set()


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), kind=st.sampled_from(["bottleneck", "sparse"]))
def test_what_is_saved_is_what_is_loaded(seed: int, kind: Any, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"module.{i}/x": torch.randn(3, i, generator=generator) for i in range(3)}
    difference = Difference(kind, str(seed), tensors, {"classifier.bias": torch.randn(2, generator=generator)})
    save_difference(tmp_path / str(seed), difference)
    loaded = load_difference(tmp_path / str(seed))
    assert (loaded.kind, loaded.base) == (kind, str(seed))
    for mine, theirs in ((tensors, loaded.tensors), (difference.head, loaded.head)):
        assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_mistakes_are_reported(tmp_path: Path) -> None:
    net = network("bert")
    path = _bottleneck(tmp_path / "a", net, 0)
    with pytest.raises(ConfigError, match="no adapter in"):
        apply_differences(net, [str(tmp_path / "none")])
    with pytest.raises(ConfigError, match="another base"):
        apply_differences(network("bert", seed=9), [path])
    with pytest.raises(ConfigError, match="a pair"):
        apply_differences(net, [[path, path, path]])
    with pytest.raises(ConfigError, match="a pair"):
        apply_differences(net, [[path, _sparse(tmp_path / "s", net, 0)]])
    with pytest.raises(ConfigError, match="same modules"):
        apply_differences(net, [[path, _bottleneck(tmp_path / "c", net, 0, coupled=True)]])
    header = json.loads((tmp_path / "a" / "adapter.json").read_text())
    for change, problem in (
        ({"schema": 9}, "newer"),
        ({"kind": "other"}, "kind"),
        ({"base": None, "schema": "x"}, "header"),
    ):
        (tmp_path / "a" / "adapter.json").write_text(json.dumps(header | change))
        with pytest.raises(DataError, match=problem):
            load_difference(path)
    (tmp_path / "a" / "adapter.json").write_text(json.dumps(header))
    (tmp_path / "a" / "adapter.safetensors").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read"):
        load_difference(path)
