"""The processes of a run: which one this is, on which device, and what they tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class World:
    """One process of `size`. A process group is up: gloo on CPUs, nccl on GPUs."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        dist.all_reduce(values)
        return values

    def mean(self, value: Tensor) -> float:
        return float(self.sum(value.detach().clone()).item()) / self.size

    def gather(self, value: Any) -> list[Any]:
        """Everyone's small Python value, at everyone. Between the run's own processes only."""
        out: list[Any] = [None] * self.size
        dist.all_gather_object(out, value)
        return out

    def barrier(self) -> None:
        dist.barrier()
