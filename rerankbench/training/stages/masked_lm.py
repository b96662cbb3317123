"""A stage of masked language modelling: it makes a language module, and leaves the network as it found it."""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerankbench.errors import ConfigError
from rerankbench.store import write_atomically
from rerankbench.training.adaptation.adaptation import Adaptation
from rerankbench.training.adaptation.bottleneck import Bottleneck
from rerankbench.training.adaptation.sparse_mask import SparseMask
from rerankbench.training.loop import Loop
from rerankbench.training.stages.stage import Training

if TYPE_CHECKING:
    import torch

log = logging.getLogger("rerankbench")


@dataclass(frozen=True, kw_only=True)
class MaskedLM:
    """Trains a language's adapter or sparse mask on texts of the language (Litschko et al., arXiv 2204.02292).

    name: of the module, which is kept as `checkpoint/languages/<name>`. texts: a benchmark, whose documents are read.
    masked: share of the tokens to fill in. length: tokens of a passage. The language model's head is trained along
    and not kept. A later stage stands on the module by `adaptation.below=["stage N"]`, the stages counted from 0.
    """

    name: str
    texts: Any
    adaptation: Adaptation
    loop: Loop = field(default_factory=Loop)
    masked: float = 0.15
    length: int = 256

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w-]*", self.name):
            raise ConfigError("name", f"names a folder: letters, digits, - and _ only; got {self.name!r}")
        if not hasattr(self.texts, "load"):
            raise ConfigError("texts", "must be a benchmark node")
        if not isinstance(self.adaptation, Bottleneck | SparseMask):
            problem = "must be bottleneck or sparse_mask: what others train cannot be taken off the network again"
            raise ConfigError("adaptation", problem)
        if self.adaptation.below:
            raise ConfigError("adaptation.below", "must be empty: a language module stands on the bare network")
        if not 0 < self.masked < 1:
            raise ConfigError("masked", f"is a share, in (0, 1); got {self.masked}")
        if self.length < 8:
            raise ConfigError("length", f"must be at least 8, got {self.length}")

    def check(self, trainee: type) -> None:
        """See Stage."""
        from rerankbench.training.trainees.bi_encoder import BiEncoderTrainee
        from rerankbench.training.trainees.cross_encoder import CrossEncoderTrainee
        from rerankbench.training.trainees.late_interaction import LateInteractionTrainee

        if not issubclass(trainee, BiEncoderTrainee | CrossEncoderTrainee | LateInteractionTrainee):
            raise ConfigError("reranker", "has no encoder whose language could be modelled; try reranker=cross_encoder")

    def run(self, training: Training, number: int) -> None:
        """See Stage."""
        from transformers import set_seed

        from rerankbench.training.masked_tokens import masked_language_model

        folder = training.folder / "stages" / str(number)
        if (folder / "done.json").exists():
            training.summary.append(json.loads((folder / "done.json").read_text(encoding="utf-8")))
            return
        began = time.perf_counter()
        set_seed(training.seed + number)
        network, model = training.trainee.network.to(training.device), training.trainee.scorer.model  # type: ignore[attr-defined]
        if any(".adapters." in name for name, _ in network.named_parameters()):
            raise ConfigError("recipe.stages", "a language module needs a network without adapters below or before it")
        words = masked_language_model(network, model)
        summary = self._trained(words, training, number, folder)
        training.summary.append(summary | {"seconds": round(time.perf_counter() - began, 1)})
        if training.writes:
            write_atomically(folder / "done.json", json.dumps(training.summary[-1]))

    def _trained(self, words: Any, training: Training, number: int, folder: Path) -> dict[str, Any]:
        """Train the module, write it, take it off; the summary."""
        from rerankbench.models.adapters.difference import base_parameters
        from rerankbench.models.encoders.encoder import Encoder, Tokenizer
        from rerankbench.training.masked_tokens import MaskedLearner, Passages
        from rerankbench.training.trainer import GroupTrainer, arguments, last_checkpoint, step_of
        from rerankbench.usage import Usage

        model = training.trainee.scorer.model  # type: ignore[attr-defined]
        encoder = Encoder(words, Tokenizer(model), model, Usage())
        if encoder.tokenizer.backend.mask_token_id is None:
            raise ConfigError("model", f"has no mask token to train a language with: {model.location}")
        texts = self.texts.load()
        length = min(self.length, encoder.max_length)
        passages = Passages((d.text for d in texts.corpus), encoder.tokenizer, length, self.masked, training.seed)
        if not len(passages):
            raise ConfigError("recipe.stages", f"{texts.name} has no text to train the language {self.name} on")
        log.info("stage %d: language %s, %d passages of %s", number + 1, self.name, len(passages), texts.name)

        self.adaptation.apply(words, training.seed)
        _train_head(words)
        start = {p: p.detach().clone() for _, p in base_parameters(words) if p.requires_grad}
        bf16 = self.loop.in_bf16(training.bf16)
        learner: Any = MaskedLearner(encoder, self.loop.tokens_at_once(training.device.type))
        options = arguments(folder, self.loop, len(passages), training.seed + number, training.device, bf16)
        trainer = GroupTrainer(
            learner,
            passages,  # type: ignore[arg-type]
            options,
            self.adaptation,
            None,
            lambda entry: training.record({"stage": number, **entry}),
            None,
        )
        before = learner.mean_loss(passages.unseen())
        resume = last_checkpoint(folder)
        if resume is None:
            shutil.rmtree(folder, ignore_errors=True) if training.writes else None
        else:
            log.info("going on from step %d of %d", step_of(resume), options.max_steps)
        training.forget(number, step_of(resume) if resume else -1)
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        after = learner.mean_loss(passages.unseen())
        if before is not None:
            log.info("language %s: loss of masked tokens %.3f, before %.3f", self.name, after, before)
        if training.writes:
            self._write(words, folder)
        trainer.accelerator.wait_for_everyone()
        self._take_off(words, start)
        return {
            "language": self.name,
            "texts": texts.name,
            "passages": len(passages),
            "steps": trainer.state.global_step,
            "held_out_passages": len(passages.held_out),
            "held_out_loss_before": before,
            "held_out_loss": after,
            "precision": "bfloat16" if bf16 else "float32",
        }

    def _write(self, words: Any, folder: Path) -> None:
        """Keep the trained difference as `added/languages/<name>`."""
        written, kept = folder / "written", folder / "added" / "languages" / self.name
        for old in (written, kept):
            shutil.rmtree(old, ignore_errors=True)
        self.adaptation.save(words, written)
        (header,) = written.rglob("adapter.json")
        kept.parent.mkdir(parents=True, exist_ok=True)
        header.parent.rename(kept)
        shutil.rmtree(written, ignore_errors=True)

    def _take_off(self, words: Any, start: dict[torch.nn.Parameter, torch.Tensor]) -> None:
        """Make the encoder what it was, to the bit."""
        import torch

        from rerankbench.models.adapters.bottleneck import clear

        self.adaptation.merge(words)
        clear(words)
        with torch.no_grad():
            for parameter, values in start.items():
                parameter.copy_(values)
        words.eval()


def _train_head(words: Any) -> None:
    """Train the head, too, except for its projection onto the vocabulary: it stays what the embeddings were."""
    import torch

    from rerankbench.models.adapters.bottleneck import base_of

    projection, embeddings = words.get_output_embeddings(), words.get_input_embeddings()
    if projection.weight is embeddings.weight and embeddings.weight.requires_grad:
        projection.weight = torch.nn.Parameter(embeddings.weight.detach().clone())
    own = {id(parameter) for parameter in base_of(words).parameters()}
    for parameter in words.parameters():
        if id(parameter) not in own:
            parameter.requires_grad_(parameter is not projection.weight)
