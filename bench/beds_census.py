"""What the service would have known of the invented hospital at a moment, and what happened afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np

from bench.beds_hospital import DAY, FIRST_DAY, TIMEZONE, UNITS, Floats, Hospital, Ints
from serve.beds.census import HospitalCensus, Move, ScheduledArrival, Stay

BOOKED_AHEAD_DAYS = 21


def wall_clock(minute: int) -> datetime:
    """Minutes since FIRST_DAY as the hospital's clock shows them."""
    return (datetime.fromordinal(FIRST_DAY) + timedelta(minutes=int(minute))).replace(tzinfo=TIMEZONE)


class Record:
    """The hospital's record. Past stays are made once, because they no longer change."""

    def __init__(self, hospital: Hospital) -> None:
        self._h = hospital
        self._closed: dict[int, Stay] = {}

    def census(self, minute: int, history_days: int) -> HospitalCensus:
        """At `minute`: scores, plans, moves and bookings that were known by then."""
        h = self._h
        start = minute - history_days * DAY
        inside = np.flatnonzero((h.admitted <= minute) & (minute < h.discharged))
        past = np.flatnonzero((h.discharged >= start) & (h.discharged <= minute))
        return HospitalCensus(
            now=wall_clock(minute),
            stays=tuple(self._stay(int(row), minute) for row in inside),
            history=tuple(self._past(int(row)) for row in past),
            scheduled=tuple(self._scheduled(minute, start)),
            staffed_beds=h.staffed,
            history_from=wall_clock(start),
            last_update=wall_clock(minute - 3),
        )

    def occupancy(self, minute: int) -> Ints:
        """Patients by unit at that minute."""
        h = self._h
        inside = (h.admitted <= minute) & (minute < h.discharged)
        return np.bincount(h.unit_at(minute)[inside], minlength=len(UNITS))

    def departures(self, begins: int, ends: int) -> Ints:
        """Discharges by unit in (begins, ends]."""
        h = self._h
        return np.bincount(h.unit[(h.discharged > begins) & (h.discharged <= ends)], minlength=len(UNITS))

    def _past(self, row: int) -> Stay:
        if row not in self._closed:
            self._closed[row] = self._stay(row, int(self._h.discharged[row]))
        return self._closed[row]

    def _stay(self, row: int, minute: int) -> Stay:
        h = self._h
        over = h.discharged[row] <= minute
        scored = not np.isnan(h.probabilities[row, 0]) and h.scored[row] <= minute
        planned = h.planned[row] >= 0 and h.planned_recorded[row] <= minute
        moved = 0 <= h.moved[row] <= minute
        entry = UNITS[h.entry_unit[row]]
        return Stay(
            encounter=str(row),
            unit=UNITS[h.unit[row]] if moved or h.moved[row] < 0 else entry,
            admitted=wall_clock(h.admitted[row]),
            discharged=wall_clock(h.discharged[row]) if over else None,
            los_probabilities=tuple(h.probabilities[row].tolist()) if scored else None,
            planned_discharge=wall_clock(h.planned[row]) if planned else None,
            status="finished" if over else "in-progress",
            moves=(Move(wall_clock(h.moved[row]), entry),) if moved else (),
            scored=wall_clock(h.scored[row]) if scored else None,
            scheduled=bool(h.scheduled[row]),
            booked=wall_clock(h.booked[row]) if h.scheduled[row] else None,
            planned_recorded=wall_clock(h.planned_recorded[row]) if planned else None,
        )

    def _scheduled(self, minute: int, start: int) -> Iterable[ScheduledArrival]:
        h = self._h
        soon = h.admitted <= minute + BOOKED_AHEAD_DAYS * DAY
        # A booked patient who comes later today than planned is still ahead.
        coming = h.scheduled & (h.admitted > minute) & soon & (h.booked <= minute)
        came = h.scheduled & (h.admitted <= minute) & (h.admitted >= start)
        for rows, outcome in ((coming, None), (came, True)):
            for row in np.flatnonzero(rows):
                yield ScheduledArrival(UNITS[h.entry_unit[row]], wall_clock(h.admitted[row]), outcome)
        ahead = (
            (h.no_show_at > minute) & (h.no_show_booked <= minute) & (h.no_show_at <= minute + BOOKED_AHEAD_DAYS * DAY)
        )
        missed = (h.no_show_at <= minute) & (h.no_show_at >= start)
        for rows, outcome in ((ahead, None), (missed, False)):
            for row in np.flatnonzero(rows):
                yield ScheduledArrival(UNITS[h.no_show_unit[row]], wall_clock(h.no_show_at[row]), outcome)


def without_scores(census: HospitalCensus) -> HospitalCensus:
    """The same hospital without any length-of-stay probability."""
    from dataclasses import replace

    def bare(stays: tuple[Stay, ...]) -> tuple[Stay, ...]:
        return tuple(replace(stay, los_probabilities=None) for stay in stays)

    return replace(census, stays=bare(census.stays), history=bare(census.history))


def minute_of(moment: datetime) -> int:
    """Minutes of the wall clock since FIRST_DAY."""
    local = moment.astimezone(TIMEZONE)
    return (local.toordinal() - FIRST_DAY) * DAY + local.hour * 60 + local.minute


__all__ = ["Floats", "Record", "minute_of", "wall_clock", "without_scores"]
