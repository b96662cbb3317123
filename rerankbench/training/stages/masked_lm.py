"""A stage of masked language modelling: it makes a language module, and leaves the network unchanged."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Interval

from rerankbench.errors import ConfigError, key_of
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from rerankbench.rerankers.scorers.cross_encoder import CrossEncoder
from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.rerankers.trainable import TrainableScorer
from rerankbench.training.adaptation.adaptation import Adaptation
from rerankbench.training.adaptation.bottleneck import Bottleneck
from rerankbench.training.adaptation.sparse_mask import SparseMask
from rerankbench.training.languages import compositions, measured
from rerankbench.training.stages.stage import PreparedStage, Stage, TrainedRun, TrainingContext

if TYPE_CHECKING:
    import torch

    from rerankbench.training.masked_tokens import MaskedPassage

log = logging.getLogger("rerankbench")


@dataclass(frozen=True, kw_only=True)
class MaskedLM(Stage):
    """Trains a language's adapter or sparse mask on texts of the language (Litschko et al., arXiv 2204.02292).

    The module is kept as `checkpoint/languages/<name of the stage>`. texts: a benchmark, whose documents are read.
    masked: share of the tokens to predict. length: tokens of a passage. The language model's head is trained, too,
    and not kept. A later stage builds on the module by `adaptation.base_adapters=[NAME]`.
    """

    texts: Any
    adaptation: Adaptation
    masked: Annotated[float, Interval(gt=0, lt=1)] = 0.15
    length: Annotated[int, Ge(8)] = 256

    changes_network: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not hasattr(self.texts, "load"):
            raise ConfigError("texts", "must be a benchmark node")
        if not isinstance(self.adaptation, Bottleneck | SparseMask):
            problem = "must be bottleneck or sparse_mask: what others train cannot be taken off the network again"
            raise ConfigError("adaptation", problem)
        if self.adaptation.base_adapters:
            raise ConfigError("adaptation.base_adapters", "must be empty: a language module needs the bare network")

    def check(self, scorer: TrainableScorer) -> None:
        """See Stage."""
        if not isinstance(scorer, BiEncoder | CrossEncoder | LateInteraction):
            problem = "has no encoder whose language could be modelled; try reranker=cross_encoder"
            raise ConfigError(key_of(scorer, "") or "reranker", problem)

    def prepare(self, context: TrainingContext, name: str) -> PreparedStage:
        """See Stage."""
        from rerankbench.models.adapters.difference import base_parameters
        from rerankbench.models.encoders.encoder import Encoder, Tokenizer
        from rerankbench.training.masked_tokens import MaskedTokenModule, Passages, masked_language_model
        from rerankbench.training.trainer import GroupTrainer, arguments
        from rerankbench.usage import Usage

        (model,) = context.scorer.models
        network = masked_language_model(context.scorer.module, model)
        encoder = Encoder(network, Tokenizer(model), model, Usage())
        if encoder.tokenizer.backend.mask_token_id is None:
            raise ConfigError(key_of(model, "path"), f"{model.location} has no mask token to train a language with")
        texts = self.texts.load()
        length = min(self.length, encoder.max_length)
        passages = Passages((d.text for d in texts.corpus), encoder.tokenizer, length, self.masked, context.seed)
        if not len(passages):
            raise ConfigError(key_of(self, "texts"), f"{texts.name} has no text to train the language {name} on")
        log.info("stage %s: %d passages of %s", name, len(passages), texts.name)

        adaptation = self.adapt(network, context)
        _train_head(network)
        start = {p: p.detach().clone() for _, p in base_parameters(network) if p.requires_grad}
        device, seed = context.device, context.seed + context.names.index(name)
        bf16 = self.loop.in_bf16(context.bf16)
        module: Any = MaskedTokenModule(encoder, self.loop.microbatch_tokens(device.type))
        options = arguments(context.folder / "stages" / name, self.loop, len(passages), seed, device, bf16)
        trainer = GroupTrainer(module, passages, options, self.hooks(adaptation, context, name))  # type: ignore[arg-type]
        figures = {
            "language": name,
            "texts": texts.name,
            "passages": len(passages),
            "held_out_passages": len(passages.held_out),
            "held_out_loss_before": module.mean_loss(passages.unseen()),
        }
        return _LanguageModule(trainer, figures=figures, unseen=passages.unseen(), start=start)

    def evaluate(self, name: str, run: TrainedRun) -> dict[str, Any]:
        """The compositions of the ranking module, which the last stage trained, with this language."""
        ranking = list(run.stages.values())[-1]
        base = [n for n in getattr(ranking.adaptation, "base_adapters", ()) if isinstance(run.stages.get(n), MaskedLM)]
        composed = compositions(name, base, run.folder / "checkpoint")
        return {"compositions": {key: measured(key, adapters, run) for key, adapters in composed.items()}}


@dataclass(kw_only=True)
class _LanguageModule(PreparedStage):
    """unseen: the held-out passages. start: the values of the parameters that are trained."""

    unseen: list[MaskedPassage]
    start: dict[torch.nn.Parameter, torch.Tensor]

    def save(self, folder: Path) -> None:
        """The trained difference, as `languages/<name>`."""
        language = self.figures["language"]
        written, kept = folder.with_name("written"), folder / "languages" / language
        for old in (written, kept):
            shutil.rmtree(old, ignore_errors=True)
        self.adaptation.save(written)
        (header,) = written.rglob("adapter.json")
        kept.parent.mkdir(parents=True, exist_ok=True)
        header.parent.rename(kept)
        shutil.rmtree(written, ignore_errors=True)

    def finish(self) -> None:
        """Measure the held-out passages, then make the encoder what it was, to the bit."""
        import torch

        from rerankbench.models.adapters.bottleneck import remove_adapters

        module: Any = self.trainer.module
        after, before = module.mean_loss(self.unseen), self.figures["held_out_loss_before"]
        self.figures["held_out_loss"] = after
        if before is not None:
            log.info("%s: loss of masked tokens %.3f, before %.3f", self.figures["language"], after, before)
        super().finish()
        remove_adapters(self.adaptation.network)
        with torch.no_grad():
            for parameter, values in self.start.items():
                parameter.copy_(values)


def _train_head(network: Any) -> None:
    """Train the head, too, except for its projection onto the vocabulary, which stays as the embeddings were."""
    import torch

    from rerankbench.models.adapters.bottleneck import base_of

    projection, embeddings = network.get_output_embeddings(), network.get_input_embeddings()
    if projection.weight is embeddings.weight and embeddings.weight.requires_grad:
        projection.weight = torch.nn.Parameter(embeddings.weight.detach().clone())
    encoder = {id(parameter) for parameter in base_of(network).parameters()}
    for parameter in network.parameters():
        if id(parameter) not in encoder:
            parameter.requires_grad_(parameter is not projection.weight)
