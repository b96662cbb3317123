"""Trainees: the networks behind the scorers, as training sees them; one file a kind."""
