"""The neural scorer loads what a training left, and says so where there is nothing to load."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rerankbench.training.trainees.neural import NeuralTrainee

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError
from rerankbench.models.zoo.drmm import DRMM
from rerankbench.models.zoo.knrm import KNRM
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.neural import Neural
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_model import on_cpu, requests, save

NAMES = ["dssm", "cdssm", "arc_i", "arc_ii", "match_pyramid", "drmm", "knrm", "conv_knrm", "duet", "anmm", "pacrr"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A KNRM as a training would leave it, in a run folder."""
    import torch

    torch.manual_seed(3)
    run = tmp_path_factory.mktemp("run")
    encoder = save(tmp_path_factory.mktemp("encoder"))
    NeuralTrainee(Neural(model=on_cpu(encoder), network=KNRM())).save(run / "checkpoint")
    return str(run)


def test_scores_do_not_depend_on_the_company(trained: str) -> None:
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
    with pytest.raises(ConfigError, match=r"^model\.path: .*no trained neural ranker; .*recipe=neural reranker=drmm"):
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
    with pytest.raises(ConfigError, match=r"^model\.path: cannot load"):
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
    assert set(parts["reranker"]["scorer"]["network"]) - {"_target_"} == set(vars(scorer.network))
    assert (scorer.max_document, reranker.passages.fold) == (200, "max")
    with pytest.raises(ConfigError, match=r"^max_query: must be at least 1"):
        Neural(model=scorer.model, network=scorer.network, max_query=0)
