"""What a deployment method returns: a value or a Problem, as plain data.

Ray logs the text of exceptions that cross an actor border and quotes arguments in it, so nothing is raised across one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from serve.errors import Problem, ServiceError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """Exactly one of `value` and `problem` is set."""

    value: T | None = None
    problem: Problem | None = None

    def unwrap(self) -> T:
        """The value. Raises ServiceError with the problem."""
        if self.problem is not None:
            raise ServiceError(self.problem)
        assert self.value is not None
        return self.value
