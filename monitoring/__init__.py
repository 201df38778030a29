"""Metrics, drift, calibration, label maturity and realised quality of the running service."""
