"""Between UTC milliseconds and the hospital's wall clock, on which the label rules count days and midnights."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np

from lang1.hospital_record import Times

_NAT = np.datetime64("NaT", "s")


def wall_clock(milliseconds: Sequence[int | None], zone: ZoneInfo) -> Times:
    """(n,) seconds on the hospital's clock; NaT for None."""
    known = {each: None if each is None else _local(each, zone) for each in set(milliseconds)}
    return np.array([known[each] or _NAT for each in milliseconds], dtype="datetime64[s]")


def wall_clock_of_stays(
    started: Sequence[int | None], ended: Sequence[int | None], zone: ZoneInfo
) -> tuple[Times, Times]:
    """Starts and ends of n stays. An end after its start stays so in the hour that comes twice in autumn."""
    start, end = wall_clock(started, zone), wall_clock(ended, zone)
    in_order = np.array([a is not None and b is not None and a <= b for a, b in zip(started, ended, strict=True)], bool)
    return start, np.where(in_order & (end < start), start, end)


def to_utc_ms(times: Times, zone: ZoneInfo) -> list[int | None]:
    """Times of the hospital's clock as UTC milliseconds, None for NaT. An hour that comes twice: its first coming."""
    moments: list[datetime | None] = times.astype("datetime64[s]").tolist()
    return [None if each is None else _utc_ms(each, zone) for each in moments]


def local_datetime(milliseconds: int, zone: ZoneInfo) -> datetime:
    """A moment on the hospital's clock, naive, whole seconds."""
    return _local(milliseconds, zone)


def _local(milliseconds: int, zone: ZoneInfo) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, zone).replace(tzinfo=None)


def _utc_ms(moment: datetime, zone: ZoneInfo) -> int:
    return round(moment.replace(tzinfo=zone).astimezone(UTC).timestamp()) * 1000
