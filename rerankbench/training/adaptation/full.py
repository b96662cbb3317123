"""Full training: every parameter moves."""


def full() -> None:
    """None, which is what a stage takes for training everything."""
