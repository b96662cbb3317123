"""How long, how fast and in what batches a stage trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rerankbench.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The loop of a stage.

    epochs: passes over the groups; max_steps ends it earlier. batch_groups: groups an optimiser step sees, over all
    processes. accumulation: parts in which a step's groups are read, for memory (in-batch negatives come from a part).
    warmup: share of the steps in which the learning rate rises. max_grad_norm: 0 clips nothing. evaluations: how
    often the dev queries are ranked and a checkpoint is written. patience: stop after so many evaluations without a
    better one; null never. precision: `auto` is bfloat16 autocast where the hardware has it, weights stay float32.
    batch_tokens: tokens, padding included, that the network reads at once. recompute: keep no activations, so that a
    step may be as large as one likes; a third more work.
    """

    epochs: float = 2.0
    max_steps: int | None = None
    batch_groups: int = 32
    accumulation: int = 1
    learning_rate: float = 2e-5
    warmup: float = 0.1
    schedule: Literal["linear", "cosine", "constant_with_warmup"] = "linear"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    evaluations: int = 4
    patience: int | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    batch_tokens: int | None = None
    recompute: bool = False

    def tokens_at_once(self, device: str) -> int:
        """`batch_tokens`, or what suits the kind of device (`cpu`, `cuda`): small batches stay in a CPU's caches."""
        return self.batch_tokens or (1024 if device == "cpu" else 32768)

    def in_bf16(self, faster: bool) -> bool:
        """Whether to run in bfloat16, where `auto` means that the hardware is faster with it."""
        return faster if self.precision == "auto" else self.precision == "bfloat16"

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_groups", "accumulation", "learning_rate", "evaluations"):
            if getattr(self, key) <= 0:
                raise ConfigError(key, f"must be above 0, got {getattr(self, key)}")
        for key in ("max_steps", "patience", "batch_tokens"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ConfigError(key, f"must be at least 1, or null; got {value}")
        if not 0 <= self.warmup < 1:
            raise ConfigError("warmup", f"is a share of the steps, in [0, 1); got {self.warmup}")
        if self.batch_groups % self.accumulation:
            raise ConfigError(
                "accumulation", f"must divide batch_groups ({self.batch_groups}), got {self.accumulation}"
            )
