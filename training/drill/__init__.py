"""The drill: years of the synthetic hospital through the live service, from drift to a better model in its place."""

from pathlib import Path

CHAMPION = Path(__file__).parent / "champion"
"""The bundle that a drill begins with; made by `lang1 train finetune --recipe drill`."""
