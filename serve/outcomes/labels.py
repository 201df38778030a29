"""Facts of some patients to the label of every stay and task: by `lang1.label_rules`, as in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Row

from lang1.hospital_record import (
    CLAIM_STATUSES,
    REASONS,
    Claims,
    ClaimStatus,
    Diagnoses,
    Encounters,
    HospitalRecord,
    Missing,
)
from lang1.label_rules import LABEL_RULES, stay_labels
from lang1.tasks import Task
from serve.outcomes.clock import local_datetime, to_utc_ms, wall_clock, wall_clock_of_stays
from serve.outcomes.context import DAY_MS, LabelContext

# Answers of one moment: a claim waits before it is answered, and is refused before it is paid.
_ORDER = tuple(ClaimStatus(each) for each in ("pending", "unknown", "denied", "final-adverse", "paid",
                                              "final-favourable", "void"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Horizons:
    """How far the feed is complete, milliseconds since 1970 UTC; None: nothing is known yet."""

    encounters_ms: int | None
    claims_ms: int | None


@dataclass(frozen=True, slots=True)
class ClaimState:
    """A state of a claim. `stay` is the row of its stay, `claim` any number that its other states share."""

    stay: int
    claim: int
    status: ClaimStatus
    decided_ms: int


@dataclass(frozen=True, slots=True)
class Label:
    """What came of a stay for one task: an option, or the reason why there is none. Times as in `Outcome`."""

    option: int | None
    reason: Missing | None
    known_ms: int | None
    due_ms: int | None


@dataclass(frozen=True, slots=True)
class TaskLabels:
    """A task's label of each stay, and the reason that a visit has of which nothing but its class is known."""

    task: Task
    labels: tuple[Label, ...]
    bare: Missing | None


def make_labels(
    stays: Sequence[Row[Any]],
    codes: Sequence[tuple[int, str, int]],
    claims: Sequence[ClaimState],
    horizons: Horizons,
    context: LabelContext,
) -> list[TaskLabels]:
    """Labels by task, in the order of `stays` (rows of encounters that have begun). `codes` are (stay, code, version).

    Tasks without a rule are left out: their labels are given.
    """
    observed_ms = horizons.encounters_ms or 0
    policy = context.policy.model_copy(update={"observed_until": local_datetime(observed_ms, context.zone)})
    final, denial_due = _settled(claims, horizons.claims_ms or 0, context.denials_final_after_days)
    record = hospital_record(stays, codes, final, context)
    found = []
    for task in context.tasks:
        if task.label_rule not in LABEL_RULES:
            continue
        answer = stay_labels(record, task, policy)
        known = to_utc_ms(answer.known_at, context.zone)
        reasons = [None if code < 0 else REASONS[code] for code in answer.reason.tolist()]
        due = _due(task, record.encounters, reasons, denial_due, observed_ms, context)
        labels = tuple(
            Label(option if reason is None else None, reason, at if reason is None else None, again)
            for option, reason, at, again in zip(answer.label.tolist(), reasons, known, due, strict=True)
        )
        found.append(TaskLabels(task, labels[:-1], reasons[-1]))
    return found


def hospital_record(
    stays: Sequence[Row[Any]],
    codes: Sequence[tuple[int, str, int]],
    claims: Sequence[ClaimState],
    context: LabelContext,
) -> HospitalRecord:
    """The stays as columns, and after them one visit of nobody. A cancelled stay is none."""
    number: dict[object, int] = {}
    patient = [number.setdefault(row.subject, len(number)) for row in stays]
    started, ended = wall_clock_of_stays(
        [*(row.started_ms for row in stays), 0], [*(row.ended_ms for row in stays), 0], context.zone
    )

    def flags(values: Sequence[bool]) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return np.array([*values, False], dtype=np.bool_)

    encounters = Encounters(
        patient=np.array([*patient, len(number)], dtype=np.int64),
        admitted=started,
        discharged=ended,
        died=np.array([*(row.died for row in stays), -1], dtype=np.int8),
        inpatient=flags([row.inpatient and row.status != "cancelled" for row in stays]),
        left_out=flags([row.left_out for row in stays]),
        planned=flags([row.planned for row in stays]),
        transferred_in=flags([row.transferred_in for row in stays]),
        newborn=flags([row.newborn for row in stays]),
    )
    diagnoses = Diagnoses(
        np.array([stay for stay, _, _ in codes], dtype=np.int64),
        [code for _, code, _ in codes],
        np.array([version for _, _, version in codes], dtype=np.int8),
    )
    in_order = sorted(claims, key=lambda each: (each.decided_ms, _ORDER.index(each.status)))
    columns = Claims(
        np.array([each.stay for each in in_order], dtype=np.int64),
        np.array([each.claim for each in in_order], dtype=np.int64),
        np.array([CLAIM_STATUSES.index(each.status) for each in in_order], dtype=np.int8),
        wall_clock([each.decided_ms for each in in_order], context.zone),
    )
    return HospitalRecord(encounters, diagnoses, columns)


def _settled(
    claims: Sequence[ClaimState], observed_ms: int, after_days: int | None
) -> tuple[list[ClaimState], Mapping[int, int]]:
    """The states with denials made final that nothing followed for long, and by stay when the next one will be."""
    if after_days is None:
        return list(claims), {}
    last: dict[tuple[int, int], ClaimState] = {}
    for each in sorted(claims, key=lambda state: (state.decided_ms, _ORDER.index(state.status))):
        last[each.stay, each.claim] = each
    due: dict[int, int] = {}
    final = list(claims)
    for state in last.values():
        if state.status is ClaimStatus.DENIED:
            final_ms = state.decided_ms + after_days * DAY_MS
            if final_ms <= observed_ms:
                final.append(ClaimState(state.stay, state.claim, ClaimStatus.FINAL_ADVERSE, state.decided_ms))
            else:
                due[state.stay] = min(final_ms, due.get(state.stay, final_ms))
    return final, due


def _due(
    task: Task,
    stays: Encounters,
    reasons: Sequence[Missing | None],
    denial_due: Mapping[int, int],
    observed_ms: int,
    context: LabelContext,
) -> list[int | None]:
    """When time alone may give each stay a label."""
    days = np.timedelta64((task.horizon_days or 0) + 1, "D")
    ends = to_utc_ms(np.asarray(stays.discharged.astype("datetime64[D]") + days, "datetime64[s]"), context.zone)
    due: list[int | None] = [None] * len(reasons)
    for row, reason in enumerate(reasons):
        if reason is Missing.CENSORED and (end := ends[row]) is not None:
            # Of a stay that others followed, the days count from the last discharge: it is looked at again tomorrow.
            due[row] = end if end > observed_ms else observed_ms + DAY_MS
        elif reason is Missing.CLAIM_OPEN:
            due[row] = denial_due.get(row)
    return due
