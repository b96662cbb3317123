"""Training beside sentence-transformers' CrossEncoderTrainer: the same pairs, network, batch size, loss and threads.

Both train MiniLM with a fresh head by binary cross-entropy, alternately; what is timed is the loop, without loading.
`python scripts/bench/training.py [--steps 12] [--pairs 32] [--rounds 2] [--length 256] [--precision float32]`
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from peers import load_average  # the folder of this script is on the path

from rerankbench.config.build import build
from rerankbench.config.compose import compose
from rerankbench.store import Store
from rerankbench.training.groups import Group
from rerankbench.training.sources import Source, TrainingData
from rerankbench.training.stages.stage import TrainingContext


def main() -> None:
    """Print pairs a second of both, round by round, and the ratio of the best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=32, help="a batch")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--length", type=int, default=256, help="tokens of a pair that both read")
    parser.add_argument("--precision", default="float32")
    options = parser.parse_args()
    print(load_average())
    words = ["recipe=cross_encoder", "recipe/loss=bce", "recipe.loop.evaluations=1", "recipe.groups.size=4",
             f"recipe.loop.batch_groups={options.pairs // 4}", f"recipe.loop.max_steps={options.steps}",
             f"recipe.loop.precision={options.precision}", f"model.max_length={options.length}"]  # fmt: skip
    parts = compose("train", words).parts
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        benchmark = build({**parts["benchmark"], "split": "train"}, "benchmark").load()
        source = Source(benchmark, build(parts["retriever"], "retriever").retrieve(benchmark, store))
        best = {"rerankbench": 0.0, "CrossEncoderTrainer": 0.0}
        for number in range(options.rounds):
            ours, groups = train_ours(parts, source, store, Path(name) / str(number))
            theirs = train_theirs(parts, groups, options, Path(name) / f"theirs-{number}")
            print(f"round {number + 1}: rerankbench {ours:.1f}, CrossEncoderTrainer {theirs:.1f} pairs/s", flush=True)
            best = {"rerankbench": max(best["rerankbench"], ours),
                    "CrossEncoderTrainer": max(best["CrossEncoderTrainer"], theirs)}  # fmt: skip
        print(f"ratio {best['rerankbench'] / best['CrossEncoderTrainer']:.2f} ({options.precision})")


def train_ours(parts: dict[str, Any], source: Source, store: Store, folder: Path) -> tuple[float, list[Group]]:
    """Pairs a second of a stage, and the groups it trained on, in order."""
    import rerankbench.training.trainer as trainer
    from rerankbench.training.module import TrainingModule

    ((name, stage),) = build(parts["recipe"], "recipe").stages.items()
    scorer = build(parts["reranker"], "reranker").scorer
    seen: list[Group] = []
    marks: list[float] = []
    plain = TrainingModule.forward

    def forward(self: TrainingModule, groups: list[Group]) -> Any:
        marks.append(time.perf_counter())
        seen.extend(groups)
        return plain(self, groups)

    context = TrainingContext(
        scorer=scorer.for_training(), data=TrainingData(sources=[source]), names=[name], store=store, folder=folder,
        seed=0, device=scorer.model.torch_device, bf16=False, record=lambda line: marks.append(time.perf_counter()),
    )  # fmt: skip
    TrainingModule.forward = forward  # type: ignore[method-assign]
    save = trainer.GroupTrainer._save_checkpoint
    trainer.GroupTrainer._save_checkpoint = lambda self, *_: None  # type: ignore[method-assign]
    try:
        stage.run(context, name)
    finally:
        TrainingModule.forward, trainer.GroupTrainer._save_checkpoint = plain, save  # type: ignore[method-assign]
    return sum(len(group.documents) for group in seen) / (marks[-1] - marks[0]), seen


def train_theirs(parts: dict[str, Any], groups: list[Group], options: argparse.Namespace, folder: Path) -> float:
    """Pairs a second of sentence-transformers on the same pairs in the same batches."""
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
    from transformers import TrainerCallback

    marks: list[float] = []

    class Marks(TrainerCallback):  # type: ignore[misc]
        def on_step_begin(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            marks.append(time.perf_counter())

    model = CrossEncoder(
        build(parts["reranker"], "reranker").scorer.model.location, num_labels=1, max_length=options.length
    )
    rows = [(g.query.text, d.text, float(y > 0)) for g in groups for d, y in zip(g.documents, g.labels, strict=True)]
    columns = dict(zip(("query", "document", "label"), map(list, zip(*rows, strict=True)), strict=True))
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(folder), per_device_train_batch_size=options.pairs, max_steps=options.steps, report_to=[],
        disable_tqdm=True, save_strategy="no", logging_steps=1000, bf16=options.precision == "bfloat16",
        learning_rate=5e-5, use_cpu=True, log_level="error",
    )  # fmt: skip
    trainer = CrossEncoderTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=BinaryCrossEntropyLoss(model),
        callbacks=[Marks()],
    )  # fmt: skip
    trainer.train()
    return options.steps * options.pairs / (marks[-1] - marks[0])


if __name__ == "__main__":
    main()
