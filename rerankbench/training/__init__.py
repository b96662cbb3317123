"""Training: groups of labelled candidates → stages (objective × weighting × adaptation) → a checkpoint."""
