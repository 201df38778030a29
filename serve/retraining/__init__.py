"""Retraining: who asked for it, the job that does it, and what became of it. Scoring needs none of this."""
