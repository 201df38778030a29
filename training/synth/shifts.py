"""How the truth of single stays differs from the usual: by the year (`eras`) and by scenarios."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lang1.tasks import BUILT_IN
from training.synth.config import SynthConfig
from training.synth.eras import ERAS, era_of
from training.synth.scenarios import Days, PayerPolicy, PrevalenceShift
from training.synth.truth import Floats, Shifts

_ERA_FIELDS = {"readmission": "readmission", "in_hospital_mortality": "mortality", "insurance_denial": "denial"}


def shifts_of(config: SynthConfig, days: Mapping[str, Days]) -> Shifts:
    """The shifts of N stays. `days` is the day of the note (N,) that each label rule is predicted from."""
    logit: dict[str, Floats] = {}
    policy: Floats | None = None
    steps: Floats | None = None

    def add(rule: str, added: Floats) -> None:
        logit[rule] = logit[rule] + added if rule in logit else added

    if config.eras:
        for rule, name in _ERA_FIELDS.items():
            if rule in days:
                values = np.array([getattr(era, name) for era in ERAS], dtype=np.float32)
                add(rule, values[era_of(days[rule])][:, None])
        if "length_of_stay" in days:
            cuts = np.array([era.los_steps for era in ERAS], dtype=np.float32)
            steps = cuts[era_of(days["length_of_stay"])][:, None, :]
    for each in config.scenarios:
        if isinstance(each, PrevalenceShift):
            rule = BUILT_IN[each.task].label_rule
            if rule in days:
                add(rule, np.where(each.holds(days[rule]), each.size, 0.0).astype(np.float32)[:, None])
        elif isinstance(each, PayerPolicy) and "insurance_denial" in days:
            share = np.where(each.holds(days["insurance_denial"]), each.size, 0.0).astype(np.float32)[:, None]
            # Two changes at once: a claim is judged by the old rules only where neither applies.
            policy = share if policy is None else 1 - (1 - policy) * (1 - share)
    return Shifts(logit, policy, steps)
