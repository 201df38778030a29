"""The label of a score, from that of its stay: by the rules for notes, with the moment of the score as the note's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Row

from lang1.hospital_record import NO_LABEL, REASONS, Encounters, HospitalRecord, Missing, NoteTimes, StayLabels
from lang1.label_rules import note_labels
from lang1.tasks import Task
from serve.outcomes.clock import wall_clock, wall_clock_of_stays
from serve.outcomes.context import LabelContext

_BY_CODE = {reason.code: reason for reason in REASONS}
OF_SCORES = frozenset(
    {
        Missing.BEFORE_ADMISSION, Missing.LATE_AFTER_ADMISSION, Missing.AFTER_END, Missing.BEFORE_DISCHARGE,
        Missing.LATE_AFTER_DISCHARGE, Missing.AFTER_OUTCOME,
    }
)  # fmt: skip
"""Reasons that the time of the score tells, which does not change."""


def labels_of_scores(
    task: Task,
    scored: Sequence[tuple[Row[Any], int]],
    stays: Sequence[Row[Any] | None],
    outcomes: Sequence[Mapping[str, Any] | None],
    bare: Missing | None,
    context: LabelContext,
) -> list[tuple[int | None, Missing | None]]:
    """Option, or the reason why there is none (both None: nothing is known), by the rules for notes."""
    n = len(scored)
    option = np.full(n, NO_LABEL, dtype=np.int8)
    reason = np.full(n, -1, dtype=np.int8)
    unknown = np.zeros(n, dtype=np.bool_)
    for i, (stay, outcome) in enumerate(zip(stays, outcomes, strict=True)):
        if outcome is not None and outcome["option"] is not None:
            option[i] = outcome["option"]
        elif outcome is not None:
            reason[i] = REASONS.index(_BY_CODE[outcome["reason"]])
        elif stay is not None and not stay.inpatient and bare is not None:
            reason[i] = REASONS.index(bare)
        else:
            unknown[i] = True
    started = [None if stay is None else stay.started_ms for stay in stays]
    ended = [None if stay is None else stay.ended_ms for stay in stays]
    admitted, discharged = wall_clock_of_stays(started, ended, context.zone)
    none = np.zeros(n, dtype=np.bool_)
    encounters = Encounters(
        np.arange(n), admitted, discharged, np.full(n, -1, dtype=np.int8), none, none, none, none, none
    )
    known = wall_clock([None if each is None else each["known_ms"] for each in outcomes], context.zone)
    given = StayLabels(option, reason, known)
    at = wall_clock([moment for _, moment in scored], context.zone)
    notes = NoteTimes(np.arange(n), np.full(n, task.note_types[0]), at, at)
    policy = context.policy.model_copy(update={"one_note_a_stay": False})
    answer = note_labels(HospitalRecord(encounters, given={task.name: given}), notes, task, policy)
    return [
        (None, None) if missing and code < 0 else (None if code >= 0 else label, REASONS[code] if code >= 0 else None)
        for label, code, missing in zip(answer.label.tolist(), answer.reason.tolist(), unknown.tolist(), strict=True)
    ]
