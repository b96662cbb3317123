"""A neural ranker is trained, saved, and scores the same when it is loaded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rerankbench.training.trainees.cross_encoder import pointwise_requests
from rerankbench.training.trainees.neural import NeuralTrainee

from rerankbench.models.zoo.drmm import DRMM
from rerankbench.models.zoo.knrm import KNRM
from rerankbench.models.zoo.network import Network
from rerankbench.rerankers.scorers.neural import Neural
from rerankbench.training.groups import Group
from rerankbench.types import Document, Query
from tests.models.toy_model import on_cpu, save, texts
from tests.models.zoo.toy_ranker import NETWORKS


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("encoder"))


def _groups(*sizes: int) -> list[Group]:
    return [
        Group(
            query=Query(f"q{row}", f"cat {text}"),
            documents=tuple(Document(f"d{row}-{i}", text) for i, text in enumerate(texts(row, size))),
            labels=tuple(float(i == 0) for i in range(size)),
            judged=(True,) * size,
            ranks=tuple(range(1, size + 1)),
            scores=(0.0,) * size,
        )
        for row, (size, text) in enumerate(zip(sizes, texts(99, len(sizes), 3), strict=True))
    ]


def _trainee(encoder: str, network: Network, seed: int = 0) -> NeuralTrainee:
    torch.manual_seed(seed)
    return NeuralTrainee(Neural(model=on_cpu(encoder), network=network, max_query=6, max_document=30))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_scores_after_saving_and_loading_are_the_same(encoder: str, network: Network, tmp_path: Path) -> None:
    trainee = _trainee(encoder, network)
    groups = _groups(3, 5)
    trainee.fit(document for group in groups for document in group.documents)
    optimizer = torch.optim.SGD([p for p in trainee.network.parameters() if p.requires_grad], lr=0.1)
    torch.stack(trainee.forward(trainee.inputs(groups))).square().sum().backward()
    optimizer.step()
    trainee.save(tmp_path / "checkpoint")
    trainee.network.eval()
    before = torch.stack(trainee.forward(trainee.inputs(groups)))
    scorer = replace(trainee.scorer, model=on_cpu(str(tmp_path)))
    assert scorer.answer(pointwise_requests(groups)) == pytest.approx(before.tolist(), abs=1e-6)
    again = NeuralTrainee(replace(trainee.scorer, model=on_cpu(str(tmp_path))))
    assert torch.equal(torch.stack(again.forward(again.inputs(groups))), before)
    assert again.network.state_dict().keys() == trainee.network.state_dict().keys()


def test_inputs_outputs_and_scores_belong_together(encoder: str) -> None:
    trainee, groups = _trainee(encoder, KNRM()), _groups(3, 1, 4)
    items = trainee.inputs(groups)
    assert [trainee.length(item) for item in items] == [len(q) + len(d) for q, d in items]
    assert len(items) == 8
    outputs = trainee.forward(items)
    scores = trainee.scores(groups, outputs, 6)
    assert scores.shape == (3, 6)
    assert scores.dtype == torch.float32
    assert scores[0, :3].tolist() == pytest.approx(torch.stack(outputs[:3]).tolist())
    assert scores[2, :4].tolist() == pytest.approx(torch.stack(outputs[4:]).tolist())
    assert not scores[0, 3:].any()
    assert not scores[1, 1:].any()
    scores.sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in trainee.network.parameters())


def test_embeddings_are_the_encoders_scaled_and_a_frozen_one_never_moves(encoder: str) -> None:
    from transformers import AutoModel

    table = AutoModel.from_pretrained(encoder).get_input_embeddings().weight.detach()
    table = table / table.square().mean().sqrt()
    assert torch.equal(_trainee(encoder, KNRM()).network.get_parameter("table"), table)
    trainee = _trainee(encoder, DRMM())
    for parameter in trainee.network.parameters():
        parameter.requires_grad_()
    torch.stack(trainee.forward(trainee.inputs(_groups(4)))).sum().backward()
    assert torch.equal(trainee.network.get_buffer("table"), table)
    assert not trainee.network.get_buffer("table").requires_grad


def test_idf_comes_from_the_documents(encoder: str) -> None:
    trainee = _trainee(encoder, DRMM())
    idf, vocabulary = trainee.network.get_buffer("idf"), trainee.scorer.tokenizer.backend.get_vocab()
    assert torch.equal(idf, torch.ones(len(vocabulary)))
    trainee.fit(iter([Document("a", "cat cat dog"), Document("b", "cat"), Document("c", "")]))
    found = [float(idf[vocabulary[word]]) for word in ("cat", "dog", "mat")]
    assert found == pytest.approx([float(torch.tensor(x).log()) for x in (4 / 3, 4 / 2, 4.0)])


def test_the_seed_decides_fresh_weights(encoder: str) -> None:
    def scores(seed: int) -> list[float]:
        trainee = _trainee(encoder, DRMM(), seed)
        found: list[float] = torch.stack(trainee.forward(trainee.inputs(_groups(5)))).tolist()
        return found

    assert scores(0) == scores(0) != scores(1)
