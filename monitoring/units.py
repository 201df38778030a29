"""Figures in a board's units, as people read them."""

from __future__ import annotations

import math


def shown(value: float, unit: str = "short") -> str:
    """A figure with its unit: `short`, `percentunit` (0 to 1), `s`, `h`, or `reqps`. A dash for none."""
    if not math.isfinite(value):
        return "–"  # noqa: RUF001 - a dash is what is meant
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return _seconds(value)
    if unit == "h":
        return f"{value:.3g} h"
    return _short(value) + ("/s" if unit == "reqps" else "")


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 10:
            return f"{value / size:.3g}{letter}"
    return f"{value:.4g}"


def _seconds(value: float) -> str:
    if abs(value) < 1:
        return f"{value * 1000:.3g} ms" if value else "0 s"
    size = time_unit_s(value)
    return f"{value / size:.3g} {_TIME_UNITS[size]}"


_TIME_UNITS = {86_400.0: "d", 3600.0: "h", 60.0: "min", 1.0: "s"}


def time_unit_s(value: float) -> float:
    """Seconds of the unit in which so many seconds are shown."""
    return next((size for size in _TIME_UNITS if abs(value) >= 2 * size), 1.0)
