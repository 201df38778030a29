"""When a loss is a spike: far over what the last steps' losses say, by rank statistics that a spike cannot move."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median

from training.pretraining.recipe import Spikes

_MAD_TO_SD = 1.4826
"""The standard deviation of a normal distribution over its median absolute deviation."""


class SpikeDetector:
    """Holds the last losses. Its state is a list of them, kept with every checkpoint."""

    def __init__(self, plan: Spikes, losses: Iterable[float] = ()) -> None:
        self._plan = plan
        self._losses: deque[float] = deque(losses, maxlen=plan.window_steps)

    def limit(self) -> float:
        """Nats from which a loss is a spike; infinity until half the window is known."""
        if len(self._losses) < self._plan.window_steps // 2:
            return math.inf
        middle = median(self._losses)
        deviation = _MAD_TO_SD * median(abs(loss - middle) for loss in self._losses)
        return middle + max(self._plan.least_rise, self._plan.deviations * deviation)

    def spikes(self, loss: float, gradient_norm: float) -> bool:
        """Whether a step must not be taken. What is not a number always must not."""
        return not (math.isfinite(loss) and math.isfinite(gradient_norm)) or loss >= self.limit()

    def add(self, loss: float) -> None:
        self._losses.append(loss)

    @property
    def losses(self) -> list[float]:
        return list(self._losses)
