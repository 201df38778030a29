"""Scores on their way back to the EHR: one resource a score, however often anything fails."""
