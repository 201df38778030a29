"""Named sets of knobs: `lang1 data synth --preset`."""

from __future__ import annotations

from datetime import date
from typing import Any

from training.synth.config import HeldOut

PRESETS: dict[str, dict[str, Any]] = {
    "plain": {},
    # Notes of 1,000 words, years as in the paper with its held-out periods, a population at rest.
    "full": {
        "mean_words": 1000,
        "spread_words": 0.4,
        "max_words": 3000,
        "prose": "long",
        "true_calendar": True,
        "eras": True,
        "warm_up_years": 4,
        "temporal_years": (2024,),
        "held_out": (
            HeldOut(name="temporal_2021", first_day=date(2021, 6, 1), last_day=date(2021, 12, 31)),
            # Later than what is trained on, and in none of the paper's test sets.
            HeldOut(name="between", first_day=date(2022, 1, 1), last_day=date(2023, 12, 31)),
        ),
        "chunk_patients": 500,
    },
}
"""By name: fields of SynthConfig beside patients and seed."""
