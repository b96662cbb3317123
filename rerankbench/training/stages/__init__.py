"""Stages: a network and training groups go in, the network goes out trained."""
