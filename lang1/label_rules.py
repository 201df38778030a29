"""Labels from a hospital's record: one rule a task, over columns of encounters, diagnoses and claims.

A rule answers for every encounter with an option index, or -1 and the reason why there is none. Definitions: paper,
5.2.2; where it is silent the decision stands beside the code. The record's types are in `lang1.hospital_record`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lang1.charlson import charlson_indices
from lang1.hospital_record import (
    CLAIM_STATUSES,
    NO_LABEL,
    REASONS,
    Claims,
    ClaimStatus,
    Diagnoses,
    Encounters,
    Flags,
    HospitalRecord,
    LabelPolicy,
    Labels,
    Missing,
    NoteLabels,
    NoteTimes,
    Rows,
    StayLabels,
    Times,
    count_reasons,
)
from lang1.tasks import Horizon, Task

__all__ = [
    "CHARLSON_UPPER",
    "CLAIM_STATUSES",
    "LABEL_RULES",
    "LOS_UPPER_DAYS",
    "NO_LABEL",
    "REASONS",
    "ClaimStatus",
    "Claims",
    "Diagnoses",
    "Encounters",
    "Flags",
    "HospitalRecord",
    "LabelPolicy",
    "LabelRule",
    "Labels",
    "Missing",
    "NoteLabels",
    "NoteTimes",
    "Rows",
    "StayLabels",
    "Times",
    "count_reasons",
    "note_labels",
    "stay_labels",
]

LOS_UPPER_DAYS = (2, 3, 5)
"""Upper bounds of the classes, included: up to 2 days, 3, 4 to 5, more."""
CHARLSON_UPPER = (0, 2, 4, 7)

_DAY = np.timedelta64(1, "D")
_NEVER = np.datetime64("NaT", "s")
_CODE = {reason: code for code, reason in enumerate(REASONS)}


class _Ladder:
    """Reasons in order of precedence: the first that holds for a row stays."""

    def __init__(self, rows: int) -> None:
        self.reason: Labels = np.full(rows, -1, dtype=np.int8)

    def unless(self, reason: Missing, holds: Flags) -> None:
        self.reason[holds & (self.reason < 0)] = _CODE[reason]

    def labels(self, label: NDArray[np.integer], known_at: Times | None = None) -> StayLabels:
        kept = np.where(self.reason < 0, label, NO_LABEL).astype(np.int8)
        return StayLabels(kept, self.reason, np.full(len(kept), _NEVER) if known_at is None else known_at)


def _days(times: Times) -> NDArray[np.datetime64]:
    return times.astype("datetime64[D]")


def _before_admission(stays: Encounters) -> Flags:
    return np.asarray(stays.discharged < stays.admitted)


@dataclass(frozen=True, slots=True)
class _Episodes:
    """Acute stays that go on with one another, as one. `of` (N,) is the stay's episode, -1 for a stay that is none."""

    of: Rows
    end: Times
    died: Labels
    next_start: Times


def _episodes(stays: Encounters, policy: LabelPolicy) -> _Episodes:
    """Transfers, same-day returns and overlapping stays joined; what is left between two episodes is time at home.

    A stay goes on with the one before it when it starts before that one ends, on the day it ends, within
    `same_stay_gap_hours` of it, or, marked as a transfer, by the next day. An open stay ends after everything.
    """
    acute = np.flatnonzero(stays.inpatient & ~stays.left_out & ~_before_admission(stays))
    open_end = np.datetime64("9999-01-01", "s")
    end = np.where(np.isnat(stays.discharged), open_end, stays.discharged)
    acute = acute[np.lexsort((end[acute], stays.admitted[acute], stays.patient[acute]))]
    of = np.full(len(stays), -1, dtype=np.int64)
    if not len(acute):
        none = np.zeros(0, dtype="datetime64[s]")
        return _Episodes(of, none, np.zeros(0, np.int8), none)
    start, ends, patient = stays.admitted[acute], end[acute], stays.patient[acute]
    same = np.concatenate(([False], patient[1:] == patient[:-1]))
    # A running maximum a patient: each patient's times are lifted above all of the patient before.
    seconds = (ends - start.min()).astype(np.int64)
    lift = np.cumsum(~same) * (int(seconds.max()) + 1)
    latest = np.maximum.accumulate(seconds + lift) - lift
    before = start.min() + np.concatenate(([0], latest[:-1])).astype("timedelta64[s]")
    gap = np.timedelta64(round(policy.same_stay_gap_hours * 3600), "s")
    goes_on = same & (
        (_days(start) <= _days(before))
        | (start <= before + gap)
        | (stays.transferred_in[acute] & (_days(start) <= _days(before) + _DAY))
    )
    first = np.flatnonzero(~goes_on)
    episode = np.cumsum(~goes_on) - 1
    of[acute] = episode
    episode_end = np.maximum.reduceat(ends, first)
    # Who died in any of the stays died; otherwise the disposition is that of the stay that ended last.
    by_end = np.lexsort((ends, episode))
    last = by_end[np.append(first[1:], len(acute)) - 1]
    died = np.where(np.maximum.reduceat(stays.died[acute], first) == 1, 1, stays.died[acute][last]).astype(np.int8)
    return _Episodes(
        of, episode_end, died, _next_counted(patient[first], start[first], stays.planned[acute][first], policy)
    )


def _next_counted(patient: Rows, start: Times, planned: Flags, policy: LabelPolicy) -> Times:
    """Start of the same patient's next episode that counts as a readmission, NaT for none."""
    counts = np.ones(len(start), dtype=np.bool_) if policy.count_planned else ~planned
    place = np.where(counts, np.arange(len(start)), len(start))
    following = np.append(np.minimum.accumulate(place[::-1])[::-1][1:], len(start))
    found = following < len(start)
    following[~found] = 0
    found &= patient[following] == patient
    return np.where(found, start[following], _NEVER)


def readmission(record: HospitalRecord, task: Task, policy: LabelPolicy) -> StayLabels:
    """An inpatient stay of the same patient starts within `task.horizon_days` calendar days of discharge.

    Discharge is that of the whole episode, so a transferred patient's first stay is judged from the last discharge.
    Rehabilitation, dialysis and palliative stays are neither index stays nor readmissions. Everybody discharged in the
    last `horizon_days` of the record is censored, also who is back already: the last month would hold returns alone.
    """
    assert task.horizon_days is not None
    stays = record.encounters
    episodes = _episodes(stays, policy)
    part = episodes.of >= 0
    at = np.where(part, episodes.of, 0)
    end: Times = stays.discharged
    next_start: Times = np.full(len(stays), _NEVER)
    died = stays.died
    if len(episodes.end):
        end, next_start, died = episodes.end[at], episodes.next_start[at], episodes.died[at]
    days = (_days(next_start) - _days(end)).astype(np.float64)
    days[np.isnat(next_start)] = np.inf
    back = days <= task.horizon_days
    ladder = _Ladder(len(stays))
    ladder.unless(Missing.NOT_INPATIENT, ~stays.inpatient)
    ladder.unless(Missing.LEFT_OUT_SERVICE, stays.left_out)
    ladder.unless(Missing.BAD_TIMES, _before_admission(stays))
    if policy.leave_out_newborns:
        ladder.unless(Missing.NEWBORN, stays.newborn)
    if policy.in_hospital_deaths == "leave-out":
        ladder.unless(Missing.DIED, died == 1)
    ladder.unless(Missing.NOT_OVER, np.isnat(stays.discharged) | (end > np.datetime64("9000-01-01")))
    ladder.unless(Missing.NO_DISPOSITION, died < 0)
    if policy.observed_until is not None:
        over = _days(end) + (task.horizon_days + 1) * _DAY
        ladder.unless(Missing.CENSORED, over > np.datetime64(policy.observed_until, "s"))
    return ladder.labels(back.astype(np.int8) & (died != 1), np.where(back, next_start, _NEVER))


def in_hospital_mortality(record: HospitalRecord, task: Task, policy: LabelPolicy) -> StayLabels:
    """The discharge disposition says that the patient died. A stay without a disposition has no label."""
    stays = record.encounters
    ladder = _Ladder(len(stays))
    ladder.unless(Missing.NOT_INPATIENT, ~stays.inpatient)
    ladder.unless(Missing.BAD_TIMES, _before_admission(stays))
    ladder.unless(Missing.NOT_OVER, np.isnat(stays.discharged) & (stays.died != 1))
    ladder.unless(Missing.NO_DISPOSITION, stays.died < 0)
    return ladder.labels(stays.died, stays.discharged)


def length_of_stay(record: HospitalRecord, task: Task, policy: LabelPolicy) -> StayLabels:
    """Midnights crossed from admission to discharge, in the paper's four classes. Who died is kept, as in the paper."""
    stays = record.encounters
    if policy.stay_length == "midnights":
        days = (_days(stays.discharged) - _days(stays.admitted)).astype(np.float64)
    else:
        days = (stays.discharged - stays.admitted).astype(np.float64) / 86_400
    ladder = _Ladder(len(stays))
    ladder.unless(Missing.NOT_INPATIENT, ~stays.inpatient)
    ladder.unless(Missing.NOT_OVER, np.isnat(stays.discharged))
    ladder.unless(Missing.BAD_TIMES, _before_admission(stays))
    return ladder.labels(np.searchsorted(LOS_UPPER_DAYS, days, side="left"), stays.discharged)


def charlson_comorbidity_index(record: HospitalRecord, task: Task, policy: LabelPolicy) -> StayLabels:
    """The Charlson index of the encounter's own codes, whenever in the stay they were set, in five classes.

    No age points, no codes of other encounters (paper, 5.2.2). An encounter without a usable code has no label.
    """
    stays = record.encounters
    ladder = _Ladder(len(stays))
    if record.diagnoses is None:
        index = np.full(len(stays), -1, dtype=np.int16)
    else:
        codes = record.diagnoses
        index = charlson_indices(codes.encounter, codes.code, codes.version, len(stays))
    ladder.unless(Missing.NO_CODES, index < 0)
    return ladder.labels(np.searchsorted(CHARLSON_UPPER, index, side="left"))


def insurance_denial(record: HospitalRecord, task: Task, policy: LabelPolicy) -> StayLabels:
    """A claim of the encounter ended denied, or was denied first and won. Paper, 5.2.2.

    Of a claim with a history the last row decides, and a denial before a payment is one that was won on appeal. Of
    several claims one that was denied is enough; without one, all must be final.
    """
    stays, claims = record.encounters, record.claims
    ladder = _Ladder(len(stays))
    if claims is None or not len(claims.encounter):
        ladder.unless(Missing.NO_CLAIM, np.ones(len(stays), dtype=np.bool_))
        return ladder.labels(np.zeros(len(stays), dtype=np.int8))
    number = {status: code for code, status in enumerate(CLAIM_STATUSES)}
    order = np.lexsort((np.arange(len(claims.claim)), claims.decided.astype(np.int64), claims.claim))
    claim, status = claims.claim[order], claims.status[order]
    encounter, decided = claims.encounter[order], claims.decided[order]
    first = np.flatnonzero(np.concatenate(([True], claim[1:] != claim[:-1])))
    last = np.append(first[1:], len(claim)) - 1
    refused = np.isin(status, [number[ClaimStatus.DENIED], number[ClaimStatus.FINAL_ADVERSE]])
    ever_refused = np.logical_or.reduceat(refused, first)
    state, owner = status[last], encounter[last]
    final = np.isin(state, [number[ClaimStatus.FINAL_ADVERSE], number[ClaimStatus.FINAL_FAVOURABLE]])
    denied = final | ((state == number[ClaimStatus.PAID]) & ever_refused)
    counted = state != number[ClaimStatus.VOID]
    unknown = state == number[ClaimStatus.UNKNOWN]
    waiting = np.isin(state, [number[ClaimStatus.PENDING], number[ClaimStatus.DENIED]])

    def has(which: Flags) -> Flags:
        return np.bincount(owner[which], minlength=len(stays)) > 0

    positive = has(denied)
    ladder.unless(Missing.NO_CLAIM, ~has(counted))
    ladder.unless(Missing.STATUS_UNKNOWN, ~positive & has(unknown))
    ladder.unless(Missing.CLAIM_OPEN, ~positive & has(waiting))
    # The first refusal or payment is when a note could begin to tell.
    known = np.full(len(stays), np.iinfo(np.int64).max)
    dated = ~np.isnat(decided) & (status != number[ClaimStatus.PENDING]) & (status != number[ClaimStatus.VOID])
    np.minimum.at(known, encounter[dated], decided[dated].astype(np.int64))
    known_at = np.where(known == np.iinfo(np.int64).max, _NEVER, known.astype("datetime64[s]"))
    return ladder.labels(positive.astype(np.int8), known_at)


LabelRule = Callable[[HospitalRecord, Task, LabelPolicy], StayLabels]
LABEL_RULES: Mapping[str, LabelRule] = {
    rule.__name__: rule
    for rule in (
        readmission,
        in_hospital_mortality,
        length_of_stay,
        charlson_comorbidity_index,
        insurance_denial,
    )
}
"""By `Task.label_rule`."""


def stay_labels(record: HospitalRecord, task: Task, policy: LabelPolicy) -> StayLabels:
    """The task's label of every stay: the hospital's own where it gave one, else the rule's, else none."""
    if task.name in record.given:
        return record.given[task.name]
    rule = LABEL_RULES.get(task.label_rule)
    if rule is None:
        ladder = _Ladder(len(record.encounters))
        ladder.unless(Missing.NO_RULE, np.ones(len(record.encounters), dtype=np.bool_))
        return ladder.labels(np.zeros(len(record.encounters), dtype=np.int8))
    return rule(record, task, policy)


def note_labels(record: HospitalRecord, notes: NoteTimes, task: Task, policy: LabelPolicy) -> NoteLabels:
    """The task's label of every note of its types: the stay's label, unless the note's time lets it tell the outcome.

    A task about the time after discharge is guarded around discharge, any other around admission.
    """
    of_stays = stay_labels(record, task, policy)
    stays = record.encounters
    asked = np.isin(notes.note_type, list(task.note_types))
    ladder = _Ladder(len(asked))
    at = notes.encounter
    stay_reason = of_stays.reason[at]
    ladder.reason[:] = np.where(asked, stay_reason, -1)
    admitted, discharged = stays.admitted[at], stays.discharged[at]
    ladder.unless(Missing.NO_TIME, asked & (np.isnat(notes.earliest) | np.isnat(notes.latest)))
    if task.horizon is Horizon.AFTER_DISCHARGE:
        early, late = _hours(policy.discharge_note_hours_before), _hours(policy.discharge_note_hours_after)
        ladder.unless(Missing.BEFORE_DISCHARGE, asked & (notes.latest < discharged - early))
        ladder.unless(Missing.AFTER_OUTCOME, asked & (notes.latest >= of_stays.known_at[at]))
        ladder.unless(Missing.LATE_AFTER_DISCHARGE, asked & (notes.earliest > discharged + late))
    else:
        early, late = _hours(policy.admission_note_hours_before), _hours(policy.admission_note_hours_after)
        ladder.unless(Missing.BEFORE_ADMISSION, asked & (notes.latest < admitted - early))
        ladder.unless(Missing.AFTER_END, asked & (notes.latest >= discharged))
        ladder.unless(Missing.AFTER_OUTCOME, asked & (notes.latest >= of_stays.known_at[at]))
        ladder.unless(Missing.LATE_AFTER_ADMISSION, asked & (notes.latest > admitted + late))
    if policy.one_note_a_stay:
        usable = np.flatnonzero(asked & (ladder.reason < 0))
        ladder.unless(Missing.OTHER_NOTE, asked & ~_chosen(notes, usable, task.horizon is Horizon.AFTER_DISCHARGE))
    label = np.where(asked & (ladder.reason < 0), of_stays.label[at], NO_LABEL).astype(np.int8)
    return NoteLabels(label, ladder.reason)


def _hours(hours: float) -> np.timedelta64:
    return np.timedelta64(round(hours * 3600), "s")


def _chosen(notes: NoteTimes, usable: Rows, take_last: bool) -> Flags:
    """One note of each stay among the `usable` rows: the last or the first written; of ties the first row."""
    when = notes.latest[usable].astype(np.int64)
    order = np.lexsort((usable, -when if take_last else when, notes.encounter[usable]))
    ranked = usable[order]
    stay = notes.encounter[ranked]
    chosen = np.zeros(len(notes.encounter), dtype=np.bool_)
    if len(ranked):
        chosen[ranked[np.concatenate(([True], stay[1:] != stay[:-1]))]] = True
    return chosen
