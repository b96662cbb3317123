"""Language modules: made on an encoder that stays what it was, and composed with a ranking module in one command."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rerankbench.benchmarks.local import Local
from rerankbench.config.compose import compose
from rerankbench.errors import ConfigError, UserError
from rerankbench.evaluation.measures import Measures
from rerankbench.evaluation.records import QueryValues
from rerankbench.models.adapters.difference import (
    apply_differences,
    base_fingerprint,
    base_parameters,
    load_difference,
)
from rerankbench.models.encoders.encoder import Encoder, Tokenizer
from rerankbench.models.zoo.knrm import KNRM
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.rerankers.scorers.neural import Neural
from rerankbench.rerankers.trained import trained
from rerankbench.store import Store
from rerankbench.train import train
from rerankbench.training import languages
from rerankbench.training.adaptation.bottleneck import Bottleneck
from rerankbench.training.adaptation.lora import LoRA
from rerankbench.training.adaptation.sparse_mask import SparseMask
from rerankbench.training.languages import compositions, with_stage_adapters
from rerankbench.training.loop import Loop
from rerankbench.training.masked_tokens import MaskedTokenModule, Passages, masked_language_model
from rerankbench.training.sources import TrainingData
from rerankbench.training.stages.masked_lm import MaskedLM, _LanguageModule
from rerankbench.training.stages.stage import TrainedRun, TrainingContext
from rerankbench.usage import Usage
from tests.models import toy_model
from tests.training.toy_collection import save_collection

LOOP = Loop(epochs=50, max_steps=12, batch_groups=8, learning_rate=5e-3, evaluations=3)
ADAPTATIONS: dict[str, Callable[[], Any]] = {
    "bottleneck": lambda: Bottleneck(reduction=2, invertible=True),
    "sparse": lambda: SparseMask(weights=0.2, full=0.5, l1=0.1),
}


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A toy BERT without any head, whose tokenizer has a mask."""
    return _save_encoder(tmp_path_factory.mktemp("encoder"), outputs=2)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_collection(tmp_path_factory.mktemp("collection") / "toy")


def _save_encoder(folder: Path, outputs: int) -> str:
    toy_model.save(folder, outputs=outputs)
    backend = toy_model.tokenizer()
    backend.mask_token = "!"
    backend.save_pretrained(folder)
    return str(folder)


def _scorer(path: str, kind: str = "cross") -> Any:
    torch.manual_seed(0)
    model = toy_model.on_cpu(path)
    return (CrossEncoder(model=model) if kind == "cross" else BiEncoder(model=model)).for_training()


@dataclass
class _Stop:
    """A record that ends the training at a step, as a kill would."""

    step: int | None = None

    def __call__(self, entry: dict[str, Any]) -> None:
        if self.step is not None and entry["step"] >= self.step:
            raise KeyboardInterrupt


def _context(scorer: Any, folder: Path, record: Callable[[dict[str, Any]], None]) -> TrainingContext:
    return TrainingContext(
        scorer=scorer,
        data=TrainingData(sources=[]),
        names=["xx"],
        store=Store(folder / "store"),
        folder=folder,
        seed=0,
        device=torch.device("cpu"),
        bf16=False,
        record=record,
    )


def _stage(collection: Path, kind: str = "bottleneck", **options: Any) -> MaskedLM:
    given: dict[str, Any] = {"texts": Local(path=str(collection)), "adaptation": ADAPTATIONS[kind]()}
    return MaskedLM(**given | {"loop": LOOP, "length": 16} | options)


def _run(stage: MaskedLM, path: str, folder: Path, kind: str = "cross", stop: int | None = None) -> Any:
    scorer = _scorer(path, kind)
    context = _context(scorer, folder, _Stop(stop))
    stage.run(context, "xx")
    return scorer, context.summaries[-1]


def _outputs(network: Any) -> torch.Tensor:
    ids = torch.randint(4, len(toy_model.WORDS), (3, 9), generator=torch.Generator().manual_seed(0))
    found = network(input_ids=ids, attention_mask=torch.ones_like(ids))
    return found.logits if hasattr(found, "logits") else found.last_hidden_state  # type: ignore[no-any-return]


@pytest.mark.parametrize("network", ["cross", "bi"])
@pytest.mark.parametrize("kind", sorted(ADAPTATIONS))
def test_the_network_stays_to_the_bit_and_the_module_learns(
    kind: str, network: str, encoder_folder: str, collection: Path, tmp_path: Path
) -> None:
    fresh = _scorer(encoder_folder, network).module
    scorer, summary = _run(_stage(collection, kind), encoder_folder, tmp_path, network)
    assert dict(scorer.module.state_dict()).keys() == fresh.state_dict().keys()
    assert all(torch.equal(tensor, fresh.state_dict()[name]) for name, tensor in scorer.module.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in scorer.module.modules())
    assert all(p.requires_grad for p in scorer.module.parameters())
    assert summary["held_out_loss"] < summary["held_out_loss_before"] - 0.05
    module = tmp_path / "stages" / "xx" / "added" / "languages" / "xx"
    assert [path.name for path in module.parent.iterdir()] == ["xx"]
    assert load_difference(module).base == base_fingerprint(fresh)
    before = _outputs(fresh)
    apply_differences(fresh, [str(module)])
    assert not torch.allclose(_outputs(fresh), before, atol=1e-4)


@pytest.mark.parametrize("kind", sorted(ADAPTATIONS))
def test_only_the_adaptation_and_the_head_move(
    kind: str, encoder_folder: str, collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}
    stage, scorer = _stage(collection, kind), _scorer(encoder_folder)
    start = copy.deepcopy(dict(base_parameters(scorer.module)))
    embeddings = scorer.module.bert.embeddings.word_embeddings.weight.detach().clone()

    finish = _LanguageModule.finish

    def watched(self: _LanguageModule) -> None:
        network: Any = self.adaptation.network
        changed = {n: (p != start[n]) for n, p in base_parameters(network)}
        seen["moved"] = {n: int(m.sum()) for n, m in changed.items() if m.any()}
        seen["projection"] = network.get_output_embeddings().weight.detach().clone()
        finish(self)

    monkeypatch.setattr(_LanguageModule, "finish", watched)
    stage.run(_context(scorer, tmp_path, _Stop()), "xx")
    assert torch.equal(seen["projection"], embeddings)
    if kind == "bottleneck":
        assert not seen["moved"]
    else:
        assert not any("LayerNorm" in name for name in seen["moved"])
        could = sum(p.numel() for n, p in start.items() if "LayerNorm" not in n)
        assert 0 < sum(seen["moved"].values()) <= int(0.2 * could)


@pytest.mark.parametrize("kind", sorted(ADAPTATIONS))
def test_an_interrupted_stage_ends_as_an_undisturbed_one(
    kind: str, encoder_folder: str, collection: Path, tmp_path: Path
) -> None:
    stage, file = _stage(collection, kind), "stages/xx/added/languages/xx/adapter.safetensors"
    _, whole = _run(stage, encoder_folder, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _run(_stage(collection, kind), encoder_folder, tmp_path / "cut", stop=7)
    assert (tmp_path / "cut/stages/xx/checkpoint-4").is_dir() and not (tmp_path / "cut" / file).exists()
    _, again = _run(_stage(collection, kind), encoder_folder, tmp_path / "cut")
    assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "cut" / file).read_bytes()
    assert {**whole, "seconds": 0} == {**again, "seconds": 0}


def test_a_finished_stage_is_not_repeated(encoder_folder: str, collection: Path, tmp_path: Path) -> None:
    _, first = _run(_stage(collection), encoder_folder, tmp_path)

    class Unreadable:
        def load(self) -> Any:
            raise AssertionError("read again")

    _, second = _run(_stage(collection, texts=Unreadable()), encoder_folder, tmp_path)
    assert first == second


def test_a_checkpoints_own_head_is_used(encoder_folder: str, tmp_path: Path) -> None:
    import transformers

    toy_model.save(tmp_path, "BertForMaskedLM")
    saved = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path)
    network = _scorer(str(tmp_path)).module
    words = masked_language_model(network, toy_model.on_cpu(str(tmp_path)))
    assert words.bert is network.bert
    assert words.get_output_embeddings().weight is network.bert.embeddings.word_embeddings.weight
    torch.testing.assert_close(_outputs(words.eval()), _outputs(saved.eval()))


def test_the_loss_is_that_of_transformers_whatever_the_batches(encoder_folder: str) -> None:
    model = toy_model.on_cpu(encoder_folder)
    network = _scorer(encoder_folder).module.eval()
    words = masked_language_model(network, model).eval()
    tokenizer = Tokenizer(model)
    passages = Passages(toy_model.texts(1, 40), tokenizer, 16, 0.3, 0)
    rows = [passages.group(0, i) for i in range(len(passages))]
    encoder = Encoder(words, tokenizer, model, Usage())
    inputs = encoder.padded([row.encoded for row in rows])
    labels = torch.full_like(inputs["input_ids"], -100)
    for row, passage in enumerate(rows):
        for place, token in passage.targets.items():
            labels[row, place] = token
    expected = words(**inputs, labels=labels).loss
    for budget in (1, 40, 10_000):
        module = MaskedTokenModule(Encoder(copy.deepcopy(words), tokenizer, model, Usage()), budget)
        torch.testing.assert_close(module(rows) / module.count(rows), expected, atol=1e-5, rtol=1e-5)


@given(
    texts=st.lists(st.lists(st.sampled_from(toy_model.WORDS[4:-1]), max_size=40).map(" ".join), max_size=30),
    masked=st.floats(0.05, 0.9),
    length=st.integers(8, 20),
    seed=st.integers(0, 3),
)
@settings(max_examples=40)
def test_passages_hold_every_token_once_and_say_what_was_masked(
    texts: list[str], masked: float, length: int, seed: int, encoder_folder: str
) -> None:
    tokenizer = Tokenizer(toy_model.on_cpu(encoder_folder))
    passages = Passages(texts, tokenizer, length, masked, seed)
    rows = [passages.group(2, i) for i in range(len(passages))] + passages.unseen()
    restored = []
    for row in rows:
        assert len(row.encoded.ids) <= length and row.targets
        ids = [row.targets.get(place, token) for place, token in enumerate(row.encoded.ids)]
        assert ids[0] == 2 and ids[-1] == 3
        assert len(row.targets) == max(1, round(masked * (len(ids) - 2)))
        restored += ids[1:-1]
    assert sorted(restored) == sorted(token for ids in tokenizer.read(texts) for token in ids)
    again = Passages(texts, tokenizer, length, masked, seed)
    assert [again.group(2, i) for i in range(len(again))] + again.unseen() == rows


def test_masks_change_with_the_epoch_and_follow_bert(encoder_folder: str) -> None:
    tokenizer = Tokenizer(toy_model.on_cpu(encoder_folder))
    passages = Passages(["cat dog mat the a garden of roses"] * 400, tokenizer, 16, 0.5, 0)
    rows = [passages.group(0, i) for i in range(len(passages))]
    assert rows != [passages.group(1, i) for i in range(len(passages))]
    shown = [(row.encoded.ids[place], token) for row in rows for place, token in row.targets.items()]
    mask = tokenizer.backend.mask_token_id
    assert 0.75 < sum(got == mask for got, _ in shown) / len(shown) < 0.86
    assert 0.07 < sum(got == token for got, token in shown) / len(shown) < 0.15


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"adaptation": LoRA()}, "adaptation: must be bottleneck or sparse_mask"),
        ({"adaptation": Bottleneck(base_adapters=["x"])}, "adaptation.base_adapters: must be empty"),
        ({"texts": "xquad"}, "texts: must be a benchmark node"),
    ],
)
def test_mistakes_are_told_by_their_key(options: dict[str, Any], problem: str, collection: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(problem)):
        _stage(collection, **options)


@pytest.mark.parametrize(("key", "value"), [("masked", 0.0), ("masked", 1.0), ("length", 2)])
def test_bounds_are_checked(key: str, value: float) -> None:
    words = ["experiment=clir_adapters", "size=small", f"recipe.stages.en.{key}={value}"]
    with pytest.raises(ConfigError, match=rf"^recipe\.stages\.en\.{key}: must be"):
        compose("train", words)


def test_a_network_that_is_no_masked_language_model_is_refused(collection: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no encoder"):
        _stage(collection).check(Neural(model=toy_model.on_cpu(str(tmp_path)), network=KNRM()))
    toy_model.save(tmp_path)  # its tokenizer has no mask
    with pytest.raises(ConfigError, match="has no mask token"):
        _run(_stage(collection), str(tmp_path), tmp_path / "run")


def test_a_loss_that_is_no_number_is_told(encoder_folder: str, collection: Path, tmp_path: Path) -> None:
    loop = replace(LOOP, learning_rate=1e30, warmup=0.0)
    with pytest.raises(UserError, match=r"the loss is nan at step .* a lower learning_rate"):
        _run(_stage(collection, loop=loop), encoder_folder, tmp_path)


def test_base_adapters_are_found_by_the_stages_name(tmp_path: Path) -> None:
    module = tmp_path / "de" / "added" / "languages" / "de"
    module.mkdir(parents=True)
    found = with_stage_adapters(Bottleneck(base_adapters=["elsewhere", "de"]), tmp_path)
    assert found == Bottleneck(base_adapters=["elsewhere", str(module)])
    plain = SparseMask(base_adapters=["en"])
    assert with_stage_adapters(plain, tmp_path) is plain
    assert with_stage_adapters(LoRA(), tmp_path) == LoRA()


def test_a_language_is_composed_with_the_ranking_module_of_another(tmp_path: Path) -> None:
    assert compositions("es", ["en"], tmp_path) == {}
    (tmp_path / "adapters" / "trained").mkdir(parents=True)
    assert compositions("en", ["en"], tmp_path) == {}
    assert compositions("es", [], tmp_path) == {"es": ["languages/es", "adapters/trained"]}
    assert compositions("es", ["en"], tmp_path) == {
        "es": ["languages/es", "adapters/trained"],
        "en-es": [["languages/en", "languages/es"], "adapters/trained"],
    }


def test_a_composition_that_ranks_nothing_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ties keep the first-stage order, whose measures are no merit of the composition."""

    class Flat(Engine):
        def rerank(self, reranker: Any, queries: Any, first_stage: Any, documents: Any) -> Any:
            self.counts.constant_scores = len(queries)
            return first_stage

    monkeypatch.setattr(languages, "Engine", Flat)
    monkeypatch.setattr(languages, "trained", lambda run, adapters: None)
    test = Local(path=str(save_collection(tmp_path / "toy"))).load()
    first_stage = {query.id: [("d0", 1.0)] for query in test.queries}
    values = [QueryValues(query.id, "ndcg@10", 0.1, 0.1, 0.0) for query in test.queries]
    measures, store = Measures(names=["ndcg@10"]), Store(tmp_path / "store")
    run = TrainedRun(tmp_path, {}, test, first_stage, {}, store, measures, values, 0)
    found = languages.measured("es", ["languages/es", "difference"], run)
    assert found["measures"] == {}
    assert found["queries_with_constant_scores"] == len(test.queries)


@pytest.mark.parametrize(
    ("name", "outputs"), [("clir_adapters", 2), ("clir_sftm", 1), pytest.param("clir_sftm", 2, marks=pytest.mark.slow)]
)
def test_one_command_trains_and_measures_the_compositions(
    name: str, outputs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """outputs: of the configuration of an encoder without a head; transformers' default is 2."""
    encoder_folder = _save_encoder(tmp_path / "encoder", outputs)
    for seed, part in enumerate(("xquad-en", "xquad-es", "xquad-sentences-en")):
        save_collection(tmp_path / part, seed=seed, train=20, test=12)
    monkeypatch.setenv("RERANKBENCH_DATA", str(tmp_path))
    short = ("max_steps=4", "batch_groups=4", "learning_rate=1e-2")
    loops = [f"recipe.{place}.{key}" for place in ("loop", "stages.en.loop") for key in short]
    run = tmp_path / "run"
    words = [f"experiment={name}", "size=small", "model=path", f"model.path={encoder_folder}", "model.max_length=32",
             "model.device=cpu", "model.dtype=float32", "tracking=none", f"run_dir={run}",
             f"store.dir={tmp_path / 'store'}",
             "recipe.groups.duplicates=drop", "benchmark.queries=null", *loops]  # fmt: skip
    composed = compose("train", words)
    assert train(composed) == run

    metrics = json.loads((run / "metrics.json").read_text())
    assert {*metrics["compositions"]} == {"es", "en-es"}
    for composition in metrics["compositions"].values():
        row = composition["measures"]["ndcg@10"]
        assert row["zero_shot"] == pytest.approx(metrics["measures"]["ndcg@10"]["reranked"])
        assert row["difference"] == pytest.approx(row["composed"] - row["zero_shot"])
    assert [stage.get("language") for stage in metrics["training"]["stages"]] == ["en", "es", None]
    checkpoint = run / "checkpoint"
    assert sorted(path.name for path in (checkpoint / "languages").iterdir()) == ["en", "es"]

    # With the base module named explicitly the scores are those of the checkpoint as it is.
    ranking = "adapters/trained" if name == "clir_adapters" else "difference"
    requests = [replace(request) for request in toy_model.requests(0, 8)]
    plain, same, other = (
        trained(str(run), adapters=adapters).scorer.answer(requests)  # type: ignore[union-attr]
        for adapters in (None, ["languages/en", ranking], metrics["compositions"]["es"]["adapters"])
    )
    assert same == pytest.approx(plain, abs=1e-5)
    assert other != pytest.approx(plain, abs=1e-4)
