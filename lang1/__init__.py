"""Lang1: the domain core. Task registry, note to prompt, packed forward pass, scores, model bundle."""

__version__ = "0.1.0"
