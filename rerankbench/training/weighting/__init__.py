"""Weightings: the weight of each sample of a batch, and when."""
