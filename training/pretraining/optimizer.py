"""AdamW for sharded weights, and the learning rate's schedule."""

from __future__ import annotations

import math

import torch
from torch.distributed.tensor import DTensor

from training.pretraining.recipe import Optimization

MOMENTS = ("exp_avg", "exp_avg_sq")


def learning_rate(step: int, plan: Optimization) -> float:
    """Linear warm-up, then half a cosine to the floor. `step` counts from 0."""
    if step < plan.warmup_steps:
        return plan.learning_rate * (step + 1) / plan.warmup_steps
    progress = min(1.0, (step - plan.warmup_steps) / (plan.steps - plan.warmup_steps))
    rise = plan.learning_rate - plan.final_learning_rate
    return plan.final_learning_rate + rise * 0.5 * (1 + math.cos(math.pi * progress))


class ShardedAdamW:
    """AdamW over DTensors whose moments are there from the start, so that every checkpoint has the same tensors."""

    def __init__(self, weights: dict[str, DTensor], plan: Optimization, device: torch.device) -> None:
        self._weights, self._plan = weights, plan
        groups = [
            {"params": [w for w in weights.values() if w.dim() > 1], "weight_decay": plan.weight_decay},
            {"params": [w for w in weights.values() if w.dim() <= 1], "weight_decay": 0.0},
        ]
        fused = device.type == "cuda"
        self._optimizer = torch.optim.AdamW(
            groups,
            lr=plan.learning_rate,
            betas=plan.betas,
            eps=plan.eps,
            fused=fused,
            foreach=False if not fused else None,
        )
        for weight in weights.values():
            self._optimizer.state[weight] = {
                "step": torch.zeros((), dtype=torch.float32, device=device if fused else "cpu"),
                **{moment: torch.zeros_like(weight) for moment in MOMENTS},
            }

    def tensors(self) -> dict[str, DTensor]:
        """The moments by name, to be saved, or read into in place."""
        return {
            f"{moment}.{name}": self._optimizer.state[weight][moment]
            for name, weight in self._weights.items()
            for moment in MOMENTS
        }

    def set_steps(self, steps: int) -> None:
        """How many steps the moments have seen: their bias correction."""
        for weight in self._weights.values():
            self._optimizer.state[weight]["step"].fill_(steps)

    def reset(self) -> None:
        """As it was before the first step."""
        for moment in self.tensors().values():
            moment.to_local().zero_()
        self.set_steps(0)

    def clip(self) -> float:
        """Scale the gradients to the recipe's norm; returns the norm before, over all processes."""
        norm = torch.nn.utils.clip_grad_norm_(list(self._weights.values()), self._plan.max_gradient_norm)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def step(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        self._optimizer.zero_grad(set_to_none=True)
