"""Is a task still calibrated? An anytime-valid test that may be read after every label.

Per task and direction. Let l be the logit of the predicted adverse probability, y the label, and say that y happened
with probability sigmoid(l + a). Null: a <= d for "understated" risks, a >= -d for "overstated" ones, d = ln 1.25;
a may differ from label to label within the null. "Overstated" is "understated" with -l and 1 - y, so only that one is
described.

Construction. For an alternative b > d the likelihood ratio of one label, Bernoulli(sigmoid(l + b)) over
Bernoulli(sigmoid(l + d)), is above 1 for y = 1 and below 1 for y = 0. Its mean therefore grows with the true
probability and is exactly 1 at a = d, so it is at most 1 everywhere in the null: a bet that cannot be favourable. The
wealth of a fixed mixture of such bets is a test supermartingale (mixture over b: the method of Robbins; Ramdas,
Gruenwald, Vovk and Shafer, "Game-theoretic statistics and safe anytime-valid inference", Statistical Science 2023,
sections 2 and 3). A bet that began years ago has lost in the quiet time what a change would have to win back, so the
mixture also runs over the label at which the bet begins, as e-detectors do (Shin, Ramdas and Rinaldo, "E-detectors",
2022), but with prior weights that sum to 1: half on the first label, the rest on every 50th with a heavy tail

    E_n = sum_k w_k sum_j pi_j prod_{i = k..n} ratio_i(b_j)  +  (weight of starts that are still to come)

E_0 = 1 and E_n stays a supermartingale, so by Ville's inequality the chance that it ever reaches 10,000 under the null
is at most 1e-4: for the whole life of the stream, at whatever moments it is looked at.

What validity asks of the caller: one label an encounter, fed in the order of prediction, whatever its value
(`monitoring.cohorts` sees to that). A label that is missing when its cohort is read is counted as the one that speaks
against the alarm (`missing`), which can only lower E_n.
"""

from __future__ import annotations

import math
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

Floats = npt.NDArray[np.float64]

TOLERANCE = math.log(1.25)
"""Shift of the logit that is still called calibrated."""
ALARM_E_VALUE = 1e4
EXCESS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Logit shifts beyond the tolerance that are bet on, in equal shares."""
BLOCK_LABELS = 50
"""A new bet begins every so many labels."""
_TAIL_BLOCKS = 2000.0
_FIRST_START = 0.5
_CLIP = 1e-6

_SHARES = -math.log(len(EXCESS))


class Direction(StrEnum):
    """Which way the predictions err."""

    UNDERSTATED = "understated"
    """Outcomes are more frequent than predicted."""
    OVERSTATED = "overstated"


class CalibrationState(BaseModel):
    """Everything that is known of one stream; feeding a label is a function from state to state.

    `started` (J,): log of the weighted wealth of all begun bets, by alternative, at the start of the present block.
    `in_block` (J,): log likelihood ratio since. Values survive JSON bit for bit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    direction: Direction
    labels: int = Field(default=0, ge=0)
    events: int = Field(default=0, ge=0)
    expected: float = 0.0
    """Sum of the predicted probabilities of the labels that were there."""
    missing: int = Field(default=0, ge=0)
    started: tuple[float, ...] = (math.log(_FIRST_START),) * len(EXCESS)
    in_block: tuple[float, ...] = (0.0,) * len(EXCESS)
    log_e: float = 0.0
    max_log_e: float = 0.0
    alarm_at_label: int | None = None
    """Count of labels at which the e-value first reached ALARM_E_VALUE; it stays, whatever comes after."""

    @model_validator(mode="after")
    def _check(self) -> CalibrationState:
        if len(self.started) != len(EXCESS) or len(self.in_block) != len(EXCESS):
            raise ValueError(f"started and in_block need {len(EXCESS)} entries")
        return self

    @property
    def log10_e(self) -> float:
        return self.log_e / math.log(10)

    @property
    def alarmed(self) -> bool:
        return self.alarm_at_label is not None


def feed(
    state: CalibrationState, probabilities: npt.ArrayLike, outcomes: npt.ArrayLike, missing: npt.ArrayLike | None = None
) -> CalibrationState:
    """The state after more labels, in order: one by one or all at once gives the same state, bit for bit.

    probabilities (n,) of the adverse outcome, held within [1e-6, 1 - 1e-6]; outcomes (n,) of 0 and 1; missing (n,)
    marks labels whose outcome is not known, whatever `outcomes` says there. Raises ValueError for anything else.
    """
    p, y = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=np.float64)
    gone = np.zeros(p.shape, dtype=np.bool_) if missing is None else np.asarray(missing, dtype=np.bool_)
    if p.ndim != 1 or p.shape != y.shape or p.shape != gone.shape:
        raise ValueError(f"probabilities {p.shape}, outcomes {y.shape} and missing {gone.shape} must be (n,)")
    if not np.all((p >= 0) & (p <= 1)) or not np.all((y == 0) | (y == 1) | gone):
        raise ValueError("probabilities must lie in [0, 1] and outcomes be 0 or 1")
    if not len(p):
        return state
    ratios = _log_ratios(state.direction, p, y, gone)
    labels, log_e, max_log_e, alarm_at = state.labels, state.log_e, state.max_log_e, state.alarm_at_label
    started, in_block = np.array(state.started), np.array(state.in_block)
    done = 0
    while done < len(p):
        take = min(BLOCK_LABELS - labels % BLOCK_LABELS, len(p) - done)
        # cumsum adds row after row from the stored sum on, as feeding one label at a time does.
        sums = np.cumsum(np.vstack((in_block, ratios[done : done + take])), axis=0)[1:]
        log_es = np.logaddexp(
            np.logaddexp.reduce(started + sums, axis=1) + _SHARES, math.log(_still_to_come(labels // BLOCK_LABELS))
        )
        top = float(log_es.max())
        max_log_e = max(max_log_e, top)
        if alarm_at is None and top >= math.log(ALARM_E_VALUE):
            alarm_at = labels + 1 + int(np.argmax(log_es >= math.log(ALARM_E_VALUE)))
        labels, done, in_block, log_e = labels + take, done + take, sums[-1], float(log_es[-1])
        if labels % BLOCK_LABELS == 0:
            block = labels // BLOCK_LABELS
            begun = math.log(_still_to_come(block - 1) - _still_to_come(block))
            started, in_block = np.logaddexp(started + in_block, begun), np.zeros(len(EXCESS))
    return CalibrationState(
        direction=state.direction,
        labels=labels,
        events=state.events + int(y[~gone].sum()),
        # Row after row here too.
        expected=float(np.cumsum(np.concatenate(([state.expected], np.where(gone, 0.0, p))))[-1]),
        missing=state.missing + int(gone.sum()),
        started=tuple(started.tolist()),
        in_block=tuple(in_block.tolist()),
        log_e=log_e,
        max_log_e=max_log_e,
        alarm_at_label=alarm_at,
    )


def _still_to_come(block: int) -> float:
    """Prior weight of the bets that begin after this block."""
    return (1 - _FIRST_START) * _TAIL_BLOCKS / (_TAIL_BLOCKS + block)


def _log_ratios(direction: Direction, p: Floats, y: Floats, gone: npt.NDArray[np.bool_]) -> Floats:
    """(n, J) log likelihood ratios; a missing label is a 0 of "understated", a 1 of "overstated"."""
    held = np.clip(p, _CLIP, 1 - _CLIP)
    logit = np.log(held) - np.log1p(-held)
    sign = 1.0 if direction is Direction.UNDERSTATED else -1.0
    happened = np.where(gone, 0.0, y if sign > 0 else 1 - y)[:, None]
    edge = (sign * logit + TOLERANCE)[:, None]
    shifted = edge + np.asarray(EXCESS)
    # log p of a Bernoulli with logit z: y * z - log(1 + e^z)
    return np.asarray(happened * (shifted - edge) - np.logaddexp(0.0, shifted) + np.logaddexp(0.0, edge))
