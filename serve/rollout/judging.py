"""What speaks against a challenger, and when it is enough: failures, slowness, absence, shifted scores.

Every test may be read at any time (see `sequential`). Their chances of a false alarm are parts of one, so that the
guard ends a rollout within all bounds with a chance of at most `guard_false_alarm`, however often it looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from serve.rollout.sequential import MeanTest
from serve.rollout.settings import RolloutSettings
from serve.rollout.tally import Tally

# Half of the chance for the scores, a quarter each for failures and slowness.
_OF_SCORES: Final = 0.5
_OF_FAILURES: Final = 0.25
_OF_SLOWNESS: Final = 0.25
_LARGEST_SHIFT: Final = 4.0
"""Logits; a larger difference counts as this."""
_CLIP: Final = 1e-4
_MIN_FAILURES: Final = 3
_MOST_ABSENCES: Final = 3


@dataclass(frozen=True, slots=True)
class Pair:
    """One task of one encounter's first note, scored by both."""

    task: str
    challenger: float
    champion: float
    """Adverse probabilities."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Where one test stands. `evidence` is 1 where it ends the rollout, on a logarithmic scale."""

    name: str
    evidence: float
    count: int
    mean: float


class Judgement:
    """Of one rollout. `expected` is the mean logit difference that the gate found, by task; 0 where it is silent."""

    def __init__(self, settings: RolloutSettings, tasks: Iterable[str], expected: Mapping[str, float]) -> None:
        self._settings = settings
        self._expected = dict(expected)
        bound = settings.guard_score_shift / _LARGEST_SHIFT
        self._shifts = {(task, sign): MeanTest(bound) for task in tasks for sign in (1, -1)}
        self._failures = MeanTest(settings.guard_failures, low=0.0)
        self._slowness = MeanTest(settings.guard_slow, low=0.0)
        self._failed: dict[str, int] = {}
        self._away_since: float | None = None
        self._absences = 0
        self._away_s = 0.0

    def take(self, tally: Tally, now_s: float) -> None:
        """Count what a process told; `now_s` is monotonic."""
        failed = sum(tally.failed.values())
        if tally.tried > failed:
            self._away_since = None
        if tally.away and tally.tried == failed and self._away_since is None:
            self._away_since = now_s
            self._absences += 1
        self._away_s = 0.0 if self._away_since is None else now_s - self._away_since
        self._failures.feed_share(failed, tally.tried)
        for code, count in tally.failed.items():
            self._failed[code] = self._failed.get(code, 0) + count
        # Where the champion is slow too, the house is; without a champion's time nobody knows.
        if tally.champion_timed and tally.champion_slow <= self._settings.guard_slow * tally.champion_timed:
            self._slowness.feed_share(tally.slow, tally.timed)

    def compare(self, pairs: Iterable[Pair]) -> None:
        """Scores of notes that both models have scored, in the order of the record."""
        found: dict[str, list[float]] = {}
        for pair in pairs:
            shift = _logit(pair.challenger) - _logit(pair.champion) - self._expected.get(pair.task, 0.0)
            found.setdefault(pair.task, []).append(max(-1.0, min(1.0, shift / _LARGEST_SHIFT)))
        for task, shifts in found.items():
            for sign in (1, -1):
                if (task, sign) in self._shifts:
                    self._shifts[task, sign].feed([sign * each for each in shifts])

    def signals(self) -> list[Signal]:
        """All tests, the strongest evidence of each kind."""
        alarm = self._settings.guard_false_alarm
        of_each = alarm * _OF_SCORES / max(1, len(self._shifts))
        found = [
            _signal("failures", self._failures, alarm * _OF_FAILURES),
            _signal("slowness", self._slowness, alarm * _OF_SLOWNESS),
            Signal("absence", min(1.0, self._away_s / self._settings.guard_away_s), self._absences, self._away_s),
        ]
        for task in dict.fromkeys(task for task, _ in self._shifts):
            both = [_signal(f"shift/{task}", self._shifts[task, sign], of_each) for sign in (1, -1)]
            stronger = max(both, key=lambda each: each.evidence)
            found.append(Signal(stronger.name, stronger.evidence, stronger.count, both[0].mean * _LARGEST_SHIFT))
        return found

    def verdict(self) -> tuple[str, Signal] | None:
        """Why the rollout must end, in words for the log, and the signal; None while nothing says so."""
        for signal in self.signals():
            if signal.name == "absence" and self._absences > _MOST_ABSENCES:
                return f"the challenger went away {self._absences} times", signal
            if signal.evidence < 1:
                continue
            if signal.name == "failures" and sum(self._failed.values()) >= _MIN_FAILURES:
                codes = ", ".join(f"{count} {code}" for code, count in sorted(self._failed.items()))
                return (
                    f"error burn: {signal.mean:.1%} of {signal.count} notes failed ({codes}), "
                    f"{self._settings.guard_failures:.1%} are allowed"
                ), signal
            if signal.name == "slowness":
                return (
                    f"latency: {signal.mean:.1%} of {signal.count} notes took over {self._settings.guard_slow_s:g} s, "
                    f"{self._settings.guard_slow:.1%} are allowed"
                ), signal
            if signal.name == "absence":
                return f"no answer of the challenger for {signal.mean:.0f} s", signal
            if signal.name.startswith("shift/") and signal.count >= self._settings.guard_min_pairs:
                task = signal.name.removeprefix("shift/")
                return (
                    f"score shift: {task} by {signal.mean:+.2f} logits beyond the expected "
                    f"{self._expected.get(task, 0.0):+.2f}, over {signal.count} encounters; "
                    f"{self._settings.guard_score_shift:g} is allowed"
                ), signal
        return None


def _signal(name: str, test: MeanTest, false_alarm: float) -> Signal:
    return Signal(name, max(0.0, test.log_e) / -math.log(false_alarm), test.count, test.mean)


def _logit(probability: float) -> float:
    held = min(1 - _CLIP, max(_CLIP, probability))
    return math.log(held / (1 - held))
