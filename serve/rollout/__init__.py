"""Serving from a registry: which model answers which encounter, what the other would say, and when to go back."""
