"""Encounter, Condition and claim resources (R4) as facts: what came of a stay, for labels and for the bed forecast."""
