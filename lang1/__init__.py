"""Lang1: the domain core. Task registry, note to prompt, packed forward pass, scores, model bundle."""

from pathlib import Path

__version__ = "0.1.0"
DEMO_BUNDLE = Path(__file__).parent / "demo_bundle"
"""The model that the repository carries: trained on invented patients, every answer tagged as a test."""
