"""The neural scorer loads what a training left, and says so where there is nothing to load."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.models.zoo.drmm import DRMM
from rerankbench.models.zoo.knrm import KNRM
from rerankbench.models.zoo.network import Network
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.neural import Neural
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_model import on_cpu, requests, save
from tests.models.zoo.toy_ranker import NETWORKS

NAMES = ["dssm", "cdssm", "arc_i", "arc_ii", "match_pyramid", "drmm", "knrm", "conv_knrm", "duet", "anmm", "pacrr"]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("encoder"))


@pytest.fixture(scope="module")
def trained(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A KNRM as a training would leave it, in a run folder."""
    torch.manual_seed(3)
    run = tmp_path_factory.mktemp("run")
    Neural(model=on_cpu(encoder), network=KNRM()).for_training().save(run / "checkpoint")
    return str(run)


def test_scores_do_not_depend_on_the_batch(trained: str) -> None:
    asked = requests(3, 25)
    scorer = Neural(model=on_cpu(trained), network=KNRM())
    together = scorer.answer(asked)
    assert [scorer.answer([request])[0] for request in asked] == pytest.approx(together, abs=1e-5)
    small = Neural(model=on_cpu(trained, batch_tokens=40), network=KNRM())
    assert small.answer(asked[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    assert max(together) - min(together) > 1e-4
    assert scorer.answer([]) == []
    assert small.usage.forward_passes > 5
    assert small.usage.prompt_tokens * 2 == scorer.usage.prompt_tokens


def test_longer_texts_are_cut_and_counted(trained: str) -> None:
    def ask(query: str, document: str) -> Pointwise:
        return Pointwise(Query("q", query), Candidate(Document("d", document), 0, 0.0))

    scorer = Neural(model=on_cpu(trained), network=KNRM())
    whole, longer = scorer.answer([ask("cat", "dog " * 200), ask("cat", "dog " * 200 + "cat")])
    assert whole == longer
    assert scorer.usage.truncated_inputs == 1
    scorer.answer([ask("cat " * 33, "dog"), ask("", "")])
    assert scorer.usage.truncated_inputs == 2


def test_an_untrained_model_is_refused(tmp_path: Path) -> None:
    scorer = Neural(model=on_cpu(save(tmp_path)), network=DRMM())
    with pytest.raises(ConfigError, match=r"^path: .*no trained neural ranker; .*recipe=neural reranker=drmm"):
        scorer.answer(requests(4, 1))


def test_another_network_or_size_is_refused(trained: str) -> None:
    with pytest.raises(ConfigError, match="was trained with kind=KNRM, not DRMM"):
        Neural(model=on_cpu(trained), network=DRMM()).answer(requests(4, 1))
    with pytest.raises(ConfigError, match=r"trained with sizes=.*11.*not .*'kernels': 5"):
        Neural(model=on_cpu(trained), network=KNRM(kernels=5)).answer(requests(4, 1))
    with pytest.raises(ConfigError, match="trained with max_document=200, not 100"):
        Neural(model=on_cpu(trained), network=KNRM(), max_document=100).answer(requests(4, 1))


def test_a_file_of_another_version_or_without_weights_is_refused(trained: str, tmp_path: Path) -> None:
    source = Path(trained) / "checkpoint"
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    scorer = Neural(model=on_cpu(str(tmp_path)), network=KNRM())
    (tmp_path / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(ConfigError, match=r"^path: cannot load"):
        scorer.answer(requests(4, 1))
    content = json.loads((tmp_path / "neural.json").read_text())
    (tmp_path / "neural.json").write_text(json.dumps({**content, "schema": 2}))
    with pytest.raises(ConfigError, match="another version"):
        scorer.answer(requests(4, 1))


def test_the_fingerprint_is_of_weights_network_and_lengths(trained: str, tmp_path: Path) -> None:
    def fingerprint(path: str, network: KNRM, max_query: int = 32) -> str:
        return Neural(model=on_cpu(path), network=network, max_query=max_query).fingerprint()

    one = fingerprint(trained, KNRM())
    others = [
        fingerprint(save(tmp_path), KNRM()),
        fingerprint(trained, KNRM(log1p=True)),
        fingerprint(trained, KNRM(), 9),
    ]
    assert one == fingerprint(trained, KNRM())
    assert len({one, *others}) == 4


@pytest.mark.parametrize("name", NAMES)
def test_every_reranker_is_built_with_the_defaults_of_its_network(name: str) -> None:
    parts = compose("eval", [f"reranker={name}", "reranker/passages=maxp"]).parts
    reranker = build(parts["reranker"], "reranker")
    scorer: Neural = reranker.scorer
    assert isinstance(scorer, Neural)
    assert scorer.network == type(scorer.network)()
    assert set(parts["reranker"]["scorer"]["network"]) - {"_target_"} == {
        field.name for field in fields(scorer.network)
    }
    assert (scorer.max_document, reranker.passages.fold) == (200, "max")
    with pytest.raises(ConfigError, match=r"^reranker\.scorer\.max_query: must be at least 1"):
        compose("eval", [f"reranker={name}", "reranker.scorer.max_query=0"])


def _for_training(encoder: str, network: Network, seed: int = 0) -> Neural:
    torch.manual_seed(seed)
    return Neural(model=on_cpu(encoder), network=network, max_query=6, max_document=30).for_training()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_scores_after_saving_and_loading_are_the_same(encoder: str, network: Network, tmp_path: Path) -> None:
    scorer = _for_training(encoder, network)
    asked = requests(1, 8)
    scorer.fit(request.candidate.document for request in asked)
    optimizer = torch.optim.SGD([p for p in scorer.module.parameters() if p.requires_grad], lr=0.1)
    torch.stack(scorer.forward(scorer.inputs(asked))).square().sum().backward()
    optimizer.step()
    scorer.save(tmp_path / "checkpoint")
    scorer.module.eval()
    before = torch.stack(scorer.forward(scorer.inputs(asked)))
    loaded = replace(scorer, model=on_cpu(str(tmp_path)))
    assert loaded.answer(asked) == pytest.approx(before.tolist(), abs=1e-6)
    again = loaded.for_training()
    assert torch.equal(torch.stack(again.forward(again.inputs(asked))), before)
    assert again.module.state_dict().keys() == scorer.module.state_dict().keys()


def test_inputs_outputs_and_scores_belong_together(encoder: str) -> None:
    scorer, asked = _for_training(encoder, KNRM()), requests(1, 8)
    items = scorer.inputs(asked)
    assert [scorer.length(item) for item in items] == [len(q) + len(d) for q, d in items]
    assert len(items) == 8
    outputs = scorer.forward(items)
    scores = scorer.scores(asked, outputs)
    assert scores.dtype == torch.float32
    assert scores.tolist() == pytest.approx(torch.stack(outputs).tolist())
    scores.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in scorer.module.parameters())


def test_embeddings_are_the_encoders_scaled_and_a_frozen_one_never_moves(encoder: str) -> None:
    from transformers import AutoModel

    table = AutoModel.from_pretrained(encoder).get_input_embeddings().weight.detach()
    table = table / table.square().mean().sqrt()
    assert torch.equal(_for_training(encoder, KNRM()).module.get_parameter("table"), table)
    scorer = _for_training(encoder, DRMM())
    for parameter in scorer.module.parameters():
        parameter.requires_grad_()
    torch.stack(scorer.forward(scorer.inputs(requests(1, 4)))).sum().backward()
    assert torch.equal(scorer.module.get_buffer("table"), table)
    assert not scorer.module.get_buffer("table").requires_grad


def test_idf_comes_from_the_documents(encoder: str) -> None:
    scorer = _for_training(encoder, DRMM())
    idf, vocabulary = scorer.module.get_buffer("idf"), scorer.tokenizer.backend.get_vocab()
    assert torch.equal(idf, torch.ones(len(vocabulary)))
    scorer.fit(iter([Document("a", "cat cat dog"), Document("b", "cat"), Document("c", "")]))
    found = [float(idf[vocabulary[word]]) for word in ("cat", "dog", "mat")]
    assert found == pytest.approx([float(torch.tensor(x).log()) for x in (4 / 3, 4 / 2, 4.0)])


def test_the_seed_decides_fresh_weights(encoder: str) -> None:
    def scores(seed: int) -> list[float]:
        scorer = _for_training(encoder, DRMM(), seed)
        found: list[float] = torch.stack(scorer.forward(scorer.inputs(requests(1, 5)))).tolist()
        return found

    assert scores(0) == scores(0) != scores(1)
