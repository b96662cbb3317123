"""Weightings: how much each sample of a batch counts, and when."""
