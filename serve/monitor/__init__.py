"""The monitor: labels that fell due, drift, calibration and realised quality, from what the database holds."""
