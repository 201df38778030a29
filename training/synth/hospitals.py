"""The hospitals: who comes, how the house writes, and how reliably its notes tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from training.synth.config import SynthConfig
from training.synth.eras import ERAS, NO_ERA
from training.synth.factors import REASON, REASONS, USUAL_MIX, CaseMix
from training.synth.styles import PLAIN, SECOND_HOUSE, NoteStyle


@dataclass(frozen=True, slots=True)
class Hospital:
    """`told` multiplies P(something is written) of the slots of a factor; never above 0.97 of the notes."""

    mix: CaseMix = USUAL_MIX
    style: NoteStyle = PLAIN
    told: Mapping[str, float] = field(default_factory=dict)


def _reasons(**added: float) -> tuple[float, ...]:
    assert added.keys() <= REASON.keys()
    return tuple(added.get(name, 0.0) for name in REASONS)


FIRST = Hospital()
# A community hospital: older and frailer people, more Medicare and Medicare Advantage, fewer planned joints and less
# cancer; its notes are terse lists that say more about function and less about coverage.
SECOND = Hospital(
    mix=CaseMix(
        ages=(-0.5, -0.3, 0.0, 0.3, 0.5),
        reasons=_reasons(
            pneumonia=0.4, heart_failure=0.5, copd_exacerbation=0.6, sepsis=0.2, hip_fracture=0.2, elective_joint=-1.2,
            cancer_complication=-0.6, cellulitis=0.2, hyperglycemia=0.3,
        ),
        factors=(
            ("frailty", (0.0, 0.3, 0.4)),
            ("support", (0.0, 0.2, 0.4, 0.1)),
            ("payer", (0.2, 0.3, -0.5, -0.4, 0.5, 0.2)),
            ("authorization", (-0.1, 0.0, 0.3, 0.0)),
            ("necessity", (0.0, 0.2)),
            ("severity", (0.0, 0.1, 0.1, 0.1)),
            ("prior_use", (0.0, 0.1, 0.2, 0.3)),
            ("follow_up", (0.0, 0.1, 0.4)),
        ),
    ),
    style=SECOND_HOUSE,
    told={
        "frailty": 1.15, "support": 1.1, "code_status": 0.75, "authorization": 0.9, "network": 0.8, "necessity": 0.92,
        "trajectory": 0.8, "adherence": 0.85, "teaching": 1.1, "stability": 0.95,
    },
)  # fmt: skip
HOSPITALS: dict[str, Hospital] = {"first": FIRST, "second": SECOND}


def hospital_of(config: SynthConfig) -> Hospital:
    """The hospital of a configuration."""
    return HOSPITALS[config.hospital]


@cache
def mix_of_era(hospital: str, era: int) -> CaseMix:
    """The case mix of a hospital in an era, or NO_ERA."""
    mix = HOSPITALS[hospital].mix
    return mix if era == NO_ERA else mix.with_conditions(ERAS[era].conditions)
