"""How long, how fast and in what batches a stage trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from rerankbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The loop of a stage.

    epochs: passes over the groups; max_steps ends it earlier. batch_groups: groups an optimiser step sees, over all
    processes. accumulation: parts in which a step's groups are read, for memory (in-batch negatives come from a part).
    warmup: share of the steps in which the learning rate rises. max_grad_norm: 0 clips nothing. evaluations: how
    often the dev queries are ranked and a checkpoint is written. patience: stop after this many evaluations without a
    better one; null never. precision: `auto` is bfloat16 autocast where the hardware has it, weights stay float32.
    batch_tokens: tokens, padding included, of one forward pass. activation_checkpointing: recompute activations in the
    backward pass instead of keeping them, so that a step's size is not limited by memory; a third more work.
    """

    epochs: Annotated[float, Gt(0)] = 2.0
    max_steps: Annotated[int, Ge(1)] | None = None
    batch_groups: Annotated[int, Ge(1)] = 32
    accumulation: Annotated[int, Ge(1)] = 1
    learning_rate: Annotated[float, Gt(0)] = 2e-5
    warmup: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    evaluations: Annotated[int, Ge(1)] = 4
    patience: Annotated[int, Ge(1)] | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_tokens: Annotated[int, Ge(1)] | None = None
    activation_checkpointing: bool = False

    def microbatch_tokens(self, device: str) -> int:
        """`batch_tokens`, or what suits the kind of device (`cpu`, `cuda`): small batches stay in a CPU's caches."""
        return self.batch_tokens or (1024 if device == "cpu" else 32768)

    def in_bf16(self, faster: bool) -> bool:
        """Whether to run in bfloat16, where `auto` means that the hardware is faster with it."""
        return faster if self.precision == "auto" else self.precision == "bfloat16"

    def __post_init__(self) -> None:
        if self.batch_groups % self.accumulation:
            problem = f"must divide batch_groups ({self.batch_groups}), got {self.accumulation}"
            raise ConfigError("accumulation", problem)
