"""Adaptations: which parameters of a network are trained, and what is added to it."""
