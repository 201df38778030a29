"""Requests for a retrained model, and the jobs that follow."""
