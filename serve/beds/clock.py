"""The hospital's own calendar: days, hours and when beds are counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from serve.beds.arrays import Floats, Ints

SUNDAY = 6
HOURS = 24


@dataclass(frozen=True, slots=True)
class CensusDay:
    """One day of a forecast. It ends when beds are counted: on day `ordinal` at `hour` (24 is midnight)."""

    date: date
    ordinal: int
    hour: float
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class HospitalClock:
    """Calendar days in the hospital's time zone. A day is its proleptic ordinal (`date.toordinal`)."""

    timezone: ZoneInfo
    census_hour: int = HOURS
    holidays: frozenset[date] = frozenset()

    def day_and_hour(self, moments: Iterable[datetime]) -> tuple[Ints, Floats]:
        """Calendar day and wall-clock hour [0, 24) of each moment."""
        local = [moment.astimezone(self.timezone) for moment in moments]
        days = np.array([moment.toordinal() for moment in local], dtype=np.int64)
        hours = np.array([moment.hour + moment.minute / 60 + moment.second / 3600 for moment in local])
        return days, hours.astype(np.float64)

    def weekdays(self, days: Ints) -> Ints:
        """Weekday of each day, Monday 0. A holiday counts as a Sunday."""
        weekdays = (days + 6) % 7  # ordinal 1 was a Monday
        if self.holidays:
            off = np.array([holiday.toordinal() for holiday in self.holidays])
            weekdays = np.where(np.isin(days, off), SUNDAY, weekdays)
        return np.asarray(weekdays, dtype=np.int64)

    def census_days(self, now: datetime, count: int) -> tuple[CensusDay, ...]:
        """The next `count` days; the first begins now and ends at the next census."""
        day = now.astimezone(self.timezone).date()
        if self._census(day) <= now:
            day += timedelta(days=1)
        found: list[CensusDay] = []
        begins = now
        for offset in range(count):
            this = day + timedelta(days=offset)
            ends = self._census(this)
            found.append(CensusDay(this, this.toordinal(), float(self.census_hour), begins, ends))
            begins = ends
        return tuple(found)

    def _census(self, day: date) -> datetime:
        if self.census_hour == HOURS:
            day, hour = day + timedelta(days=1), 0
        else:
            hour = self.census_hour
        return datetime.combine(day, time(hour), tzinfo=self.timezone)
