"""No weighting: every sample has weight 1."""

from rerankbench.config.targets import configurable


@configurable
def none() -> None:
    """None, which a stage takes for weights that are all 1."""
