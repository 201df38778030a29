"""Pretraining: next-token prediction on clinical notes and web text, on any number of processes (paper, 5.3)."""
