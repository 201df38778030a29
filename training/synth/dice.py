"""Choices from numbers drawn beforehand: a note's wording, cheaper than a generator a note."""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of pre-drawn integers in [0, 2**31), used over again when it runs out."""

    __slots__ = ("_at", "_numbers")

    def __init__(self, numbers: list[int]) -> None:
        self._numbers = numbers
        self._at = 0

    def below(self, n: int) -> int:
        self._at += 1
        # The turn count is added so that a stream used a second time does not repeat its choices.
        return (self._numbers[self._at % len(self._numbers)] + self._at // len(self._numbers) * 7919) % n

    def chance(self, p: float) -> bool:
        return self.below(1_000_000) < p * 1_000_000

    def pick(self, pool: tuple[str, ...]) -> str:
        return pool[self.below(len(pool))]

    def shuffled(self, items: list[T]) -> list[T]:
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out
