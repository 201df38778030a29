"""What a process counted of a rollout since it last told the guard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

_NOBODYS_FAULT: Final = frozenset({"throttled", "not-loaded"})


@dataclass(slots=True)
class Tally:
    """Notes. `tried` and `failed` are the challenger's, in canary and shadow; of throttled ones neither is counted."""

    rollout_id: str
    tried: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """By code, without those that nobody was there to answer."""
    away: int = 0
    """Notes that no challenger was there to answer."""
    timed: int = 0
    slow: int = 0
    champion_timed: int = 0
    champion_slow: int = 0
    canary: int = 0
    """Notes that the challenger answered."""
    fallbacks: Counter[str] = field(default_factory=Counter)
    shadow: Counter[str] = field(default_factory=Counter)

    def count_tries(self, codes: Iterable[str | None], absent: frozenset[str]) -> None:
        """Outcomes of one call to the challenger, None for a score; `absent` are codes of nobody being there."""
        for code in codes:
            if code in absent:
                self.away += 1
            elif code not in _NOBODYS_FAULT:
                self.tried += 1
                if code is not None:
                    self.failed[code] += 1

    def add(self, other: Tally) -> None:
        """Take over another's counts."""
        for name in ("tried", "away", "timed", "slow", "champion_timed", "champion_slow", "canary"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.failed += other.failed
        self.fallbacks += other.fallbacks
        self.shadow += other.shadow

    @property
    def is_empty(self) -> bool:
        return not (self.tried or self.away or self.champion_timed or self.fallbacks or self.shadow or self.canary)
