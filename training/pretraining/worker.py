"""What each of Ray Train's workers runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def train_worker(run: dict[str, Any]) -> None:
    """One process of a run, as `run.pretrain` describes it. The first writes outcome.json."""
    import ray.train
    import torch
    from ray.train.torch import get_device

    from training.pretraining.loop import Pretraining
    from training.pretraining.recipe import PretrainRecipe
    from training.pretraining.run import OUTCOME_FILE
    from training.pretraining.world import World

    context = ray.train.get_context()
    device = get_device()
    if device.type == "cpu":
        torch.set_num_threads(int(run["threads"]))
    world = World(context.get_world_rank(), context.get_world_size(), torch.device(device))
    out = Path(run["out"])
    outcome = Pretraining(
        PretrainRecipe.model_validate(run["recipe"]), Path(run["data"]), out, world,
        {name: Path(path) for name, path in run["asked_of"].items()},
    ).run()  # fmt: skip
    if world.first:
        described = {
            "step": outcome.state.step, "tokens": outcome.state.tokens, "stopped": outcome.stopped,
            "failed": outcome.failed, "best_validation": outcome.state.best_validation,
        }  # fmt: skip
        fresh = out / f"{OUTCOME_FILE}.new"
        fresh.write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
        fresh.replace(out / OUTCOME_FILE)
    world.barrier()
