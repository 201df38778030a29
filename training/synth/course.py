"""What happens in and after a stay, and when: hours of admission and discharge, the coding of diagnoses, the claim and
its answers, the return. Times are whole seconds since 1970 UTC, drawn from a random stream of their own.

Approvals come within weeks, denials later, and their appeals later still: a cohort of claims read early looks too good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.synth.config import SynthConfig
from training.synth.patients import Encounters

Seconds = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

STREAM = 4
"""Third number of the seed of the random stream."""
DAY_S = 86_400
NEVER = np.iinfo(np.int64).max
APPEALED, OVERTURNED = 0.6, 0.45
"""Share of the denials that are appealed, and of the appeals that are won."""
APPEAL_WINDOW_DAYS = 60
"""After so long without an appeal the payer closes a denied claim."""


@dataclass(frozen=True, slots=True)
class Course:
    """N stays. NEVER for what does not happen.

    A claim is `submitted` and `answered`; a denied one is `appealed` or not, and `settled` when it is final. An
    approved one is settled with the answer. `returned` is the next admission within 30 days, also one that the data
    set has no notes of (a fourth stay, or one after the last year).
    """

    admitted: Seconds
    history_written: Seconds
    summary_written: Seconds
    discharged: Seconds
    coded: Seconds
    submitted: Seconds
    answered: Seconds
    appealed: Seconds
    settled: Seconds
    overturned: Flags
    returned: Seconds
    return_recorded: Flags
    """Whether the return is a stay of this data set."""


def draw_course(
    config: SynthConfig, chunk: int, stays: Encounters, history_hours: Seconds, summary_hours: Seconds
) -> Course:
    """The course of a chunk's stays, whose notes are written at these hours of the day (N,)."""
    rng = np.random.default_rng([config.seed, chunk, STREAM])
    n = len(stays)
    history = stays.admitted * DAY_S + history_hours * 3600
    # The H&P is written within hours of the admission, on the same day.
    admitted = history - _seconds(rng, 300, np.minimum(history_hours * 3600 - 60, 5 * 3600))
    summary = stays.discharged * DAY_S + summary_hours * 3600
    last_note = np.where(stays.died | (stays.discharged == stays.admitted), np.maximum(summary, history), summary)
    midnight = (stays.discharged + 1) * DAY_S
    discharged = last_note + _seconds(rng, 600, np.minimum(midnight - last_note - 60, 4 * 3600))
    coded = discharged + _days(rng.gamma(3.0, 1.2, n) + 1)
    submitted = coded + _days(rng.gamma(2.0, 1.5, n) + 0.5)
    denied = stays.denied == 1
    answered = submitted + _days(np.where(denied, rng.gamma(5.0, 5.0, n) + 5, rng.gamma(4.0, 3.5, n) + 1))
    appeals = denied & (rng.random(n) < APPEALED)
    wait = _days(rng.uniform(3, 30, n))
    decision = _days(rng.gamma(6.0, 6.0, n) + 7)
    overturned = appeals & (rng.random(n) < OVERTURNED)
    settled = np.where(appeals, answered + wait + decision, answered + APPEAL_WINDOW_DAYS * DAY_S)
    returned, recorded = _returns(rng, stays, admitted)
    return Course(
        admitted=admitted,
        history_written=history,
        summary_written=summary,
        discharged=discharged,
        coded=coded,
        submitted=submitted,
        answered=answered,
        appealed=np.where(appeals, answered + wait, NEVER),
        settled=np.where(denied, settled, answered),
        overturned=overturned,
        returned=returned,
        return_recorded=recorded,
    )


def _seconds(rng: np.random.Generator, low: int, high: Seconds) -> Seconds:
    return rng.integers(low, np.maximum(high, low + 1))


def _days(days: npt.NDArray[np.float64]) -> Seconds:
    return (days * DAY_S).astype(np.int64)


def _returns(rng: np.random.Generator, stays: Encounters, admitted: Seconds) -> tuple[Seconds, Flags]:
    """When those who come back within 30 days do, and whether that stay is one of these."""
    order = np.lexsort((stays.ordinal, stays.patient))
    patient, ordinal = stays.patient[order], stays.ordinal[order]
    follows = np.zeros(len(order), dtype=np.bool_)
    follows[:-1] = (patient[1:] == patient[:-1]) & (ordinal[1:] == ordinal[:-1] + 1)
    recorded = np.zeros(len(order), dtype=np.bool_)
    recorded[order] = follows
    following = np.zeros(len(order), dtype=np.int64)
    following[order[:-1]] = admitted[order[1:]]
    back = stays.readmitted == 1
    unseen = (stays.discharged + rng.integers(2, 31, len(stays))) * DAY_S + rng.integers(3600, 80_000, len(stays))
    returned = np.where(back, np.where(recorded, following, unseen), NEVER)
    return returned, recorded & back
