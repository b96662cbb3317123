"""Losses: pure functions of scores, labels and mask, unreduced; one file a family."""
