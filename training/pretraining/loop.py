"""The training loop of one process. All processes run it in step; the first one also writes things down."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - the name every torch user reads at sight
from torch import Tensor, nn

from training.pretraining.batches import Batches, HeldOut
from training.pretraining.checkpoints import BEST, CheckpointFolder, step_name, steps_of, trajectory_name
from training.pretraining.errors import PretrainError
from training.pretraining.journal import Journal
from training.pretraining.model import ShardedModel, padded_vocab_size
from training.pretraining.optimizer import ShardedAdamW, learning_rate
from training.pretraining.probes import Probes
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.samples import write_samples
from training.pretraining.shards import open_tokens
from training.pretraining.speed import Pace, device_peak, flops_per_token
from training.pretraining.spikes import SpikeDetector
from training.pretraining.state import Rollbacks, RunState
from training.pretraining.world import World

CHECKPOINTS, ROLLBACKS = "checkpoints", "rollbacks.json"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended. `stopped` is the reason when it did not take all its steps; early stopping is no failure."""

    state: RunState
    stopped: str | None = None
    failed: bool = False


def sequence_loss(module: nn.Module, rows: Tensor) -> Tensor:
    """Mean cross-entropy of the next token, nats; rows int64 (n, context + 1)."""
    logits = module(rows[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())


class Pretraining:
    """One run at one process: built anew at each start, it goes on from the newest sound checkpoint."""

    def __init__(
        self, recipe: PretrainRecipe, data: Path, out: Path, world: World, asked_of: Mapping[str, Path]
    ) -> None:
        self._recipe, self._out, self._world = recipe, out, world
        torch.manual_seed(recipe.seed)
        tokens = open_tokens(data)
        self._model = ShardedModel(recipe, tokens.manifest.vocab_size, world)
        self._optimizer = ShardedAdamW(self._model.weights, recipe.optimization, world.device)
        self._checkpoints = CheckpointFolder(out / CHECKPOINTS, self._model, self._optimizer, world)
        self._batches = Batches(recipe, tokens, world)
        self._held_out = HeldOut(recipe, tokens, world)
        self._journal = Journal(out, world.first)
        self._data = tokens
        self._probes: Probes | None = None
        if recipe.evaluation is not None and asked_of:
            self._probes = Probes(recipe, tokens, asked_of, world)
        self._rollbacks = self._read_rollbacks()
        if recipe.compile and world.device.type == "cuda":
            torch.set_float32_matmul_precision("high")

    def run(self) -> Outcome:
        """Take the recipe's steps. Raises PretrainError."""
        plan, recipe = self._recipe.optimization, self._recipe
        state = self._resume()
        detector = SpikeDetector(recipe.spikes, state.losses)
        peak, source = device_peak(self._world.device, recipe.precision, recipe.peak_tflops)
        flops = flops_per_token(recipe.model, padded_vocab_size(self._data.manifest.vocab_size))
        self._journal.event(
            "speed", flops_per_token=flops, peak_tflops=round(peak / 1e12, 3), peak_source=source,
            accumulation=self._batches.accumulation,
        )  # fmt: skip
        pace = Pace(plan.steps, recipe.batch_tokens, self._world.size, flops, peak)
        stopped, failed = None, False
        while state.step < plan.steps and stopped is None:
            pace.start()
            first = self._rollbacks.skips.after(state.next_sample)
            end = first + plan.batch_sequences
            loss = self._gradients(self._batches.at(first, self._rollbacks.skips.after(end)))
            norm = self._optimizer.clip()
            if detector.spikes(loss, norm):
                self._optimizer.drop_gradients()
                if len(self._rollbacks.skipped) >= recipe.spikes.max_rollbacks:
                    stopped = f"a loss spike after {recipe.spikes.max_rollbacks} rollbacks; lower the learning rate"
                    failed = True
                    break
                state = self._go_back(state.step, loss, norm, detector.limit(), end)
                detector = SpikeDetector(recipe.spikes, state.losses)
                continue
            rate = learning_rate(state.step, plan)
            self._optimizer.step(rate)
            detector.add(loss)
            seen = state.tokens
            state.step, state.next_sample, state.tokens = state.step + 1, end, seen + recipe.batch_tokens
            state.losses = detector.losses
            entry: dict[str, object] = {
                "step": state.step, "tokens": state.tokens, "sample": end, "loss": loss, "gradient_norm": norm,
                "learning_rate": rate, **pace.step(state.step),
            }  # fmt: skip
            stopped = self._measure(state, entry)
            # Before the checkpoint: a run that goes on from it must find the step's line.
            self._journal.step(entry)
            self._keep(state, seen, last=stopped is not None or state.step == plan.steps)
        self._journal.event("stopped" if stopped else "finished", step=state.step, reason=stopped)
        self._batches.close()
        # Nobody leaves while another still talks: a torn-down group would look like a death.
        self._world.barrier()
        return Outcome(state, stopped, failed)

    def _resume(self) -> RunState:
        name, damaged = self._checkpoints.newest_sound()
        for bad in damaged:
            self._journal.event("damaged checkpoint", name=bad)
        self._journal.event("started", checkpoint=name, workers=self._world.gather(self._process()))
        if name is None:
            if self._recipe.base is not None:
                self._model.load_base(self._recipe.base)
            else:
                self._model.initialise(self._recipe.seed)
            state = RunState()
            self._checkpoints.forget_after(state)
            self._save(state)
            if self._recipe.checkpoints.trajectory_tokens:
                self._checkpoints.save(trajectory_name(0), state, resumable=False)
        else:
            state = self._checkpoints.load(name)
            self._checkpoints.forget_after(state)
        self._journal.go_back(state.step)
        return state

    def _process(self) -> dict[str, object]:
        """Who this is, and how many of the model's weights it holds."""
        held = sum(weight.to_local().numel() for weight in self._model.weights.values())
        return {"host": socket.gethostname(), "pid": os.getpid(), "weights": held}

    def _gradients(self, micro_batches: tuple[Tensor, ...]) -> float:
        """Gradients of the mean loss over the batch; returns that loss, the same number at every process."""
        total = torch.zeros((), device=self._world.device)
        for index, rows in enumerate(micro_batches):
            self._model.accumulate(last=index + 1 == len(micro_batches))
            loss = sequence_loss(self._model.module, rows) / len(micro_batches)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return self._world.mean(total)

    def _go_back(self, step: int, loss: float, norm: float, limit: float, end: int) -> RunState:
        """To the newest checkpoint that is old enough to be sound; the samples since then are not read again."""
        oldest_trusted = max(0, step - self._recipe.spikes.stable_steps)
        known = self._world.gather(steps_of(self._checkpoints.folder) if self._world.first else [])[0]
        stable = max((known_step for known_step in known if known_step <= oldest_trusted), default=known[0])
        state = self._checkpoints.load(step_name(stable))
        # Samples that were trained on before the checkpoint stay trained on; those from it to the spike go.
        skipped = (state.next_sample, end)
        # Later checkpoints go first. A process that dies here meets the spike again, and comes here again.
        self._checkpoints.forget_after(state)
        self._rollbacks.skipped.append(skipped)
        if self._world.first:
            fresh = self._out / f"{ROLLBACKS}.new"
            fresh.write_text(self._rollbacks.model_dump_json() + "\n", encoding="utf-8")
            fresh.replace(self._out / ROLLBACKS)
        self._journal.go_back(state.step)
        self._journal.event(
            "rollback", step=step + 1, loss=_finite(loss), gradient_norm=_finite(norm), limit=_finite(limit),
            to_step=state.step, skipped_samples=skipped, rollbacks=len(self._rollbacks.skipped),
        )  # fmt: skip
        return state

    def _measure(self, state: RunState, entry: dict[str, object]) -> str | None:
        """What falls due after a step, into its entry. Returns why the run should end, if it should."""
        recipe, stopped = self._recipe, None

        def due(every_steps: int) -> bool:
            return state.step == recipe.optimization.steps or state.step % every_steps == 0

        if self._held_out.sources and due(recipe.validation.every_steps):
            entry["validation"] = losses = self.validate()
            stopped = self._judge(state, losses["mean"])
        if self._probes is not None and recipe.evaluation is not None and due(recipe.evaluation.every_steps):
            entry["evaluation"] = self._probes.ask(self._model)
        if recipe.samples is not None and due(recipe.samples.every_steps):
            write_samples(self._model, recipe, self._data, state.step, self._journal, self._world.device)
        return stopped

    def _keep(self, state: RunState, seen: int, last: bool) -> None:
        """The checkpoints that fall due after a step."""
        plan = self._recipe.checkpoints
        every = plan.trajectory_tokens
        if every is not None and (last or state.tokens // every > seen // every):
            self._checkpoints.save(trajectory_name(state.tokens), state, resumable=False)
        if last or state.step % plan.every_steps == 0:
            self._save(state)

    def validate(self) -> dict[str, float]:
        """Mean loss of the held-out sequences by source, nats a token, and the mean of those."""
        found: dict[str, float] = {}
        with self._model.reading() as module:
            for source in self._held_out.sources:
                sums = torch.zeros(2, dtype=torch.float64, device=self._world.device)
                for rows, weights in self._held_out.batches(source):
                    rows, weights = rows.to(self._world.device), weights.to(self._world.device)
                    logits = module(rows[:, :-1]).float().flatten(0, 1)
                    each = F.cross_entropy(logits, rows[:, 1:].flatten(), reduction="none").view(len(rows), -1).mean(1)
                    sums += torch.stack(((each * weights).sum(), weights.sum())).double()
                total, count = self._world.sum(sums).tolist()
                found[source] = total / count
        return {**found, "mean": sum(found.values()) / len(found)}

    def _judge(self, state: RunState, mean: float) -> str | None:
        """Keep the weights of the best validation (paper, 5.3), and end the run when the recipe's patience is over."""
        if state.best_validation is None or mean < state.best_validation:
            state.best_validation, state.validations_without_gain = mean, 0
            self._checkpoints.save(BEST, state, resumable=False)
            return None
        state.validations_without_gain += 1
        patience = self._recipe.validation.patience
        if patience is not None and state.validations_without_gain >= patience:
            return f"no better validation loss in {patience} validations"
        return None

    def _save(self, state: RunState) -> None:
        self._checkpoints.save(step_name(state.step), state)
        plan = self._recipe.checkpoints
        # As many as it takes for one to be old enough for a rollback, whatever the recipe says.
        self._checkpoints.prune(max(plan.keep, 2 + math.ceil(self._recipe.spikes.stable_steps / plan.every_steps)))
        self._journal.event("checkpoint", step=state.step, epochs=self._batches.mixture.epochs(state.next_sample))

    def _read_rollbacks(self) -> Rollbacks:
        path = self._out / ROLLBACKS
        if not path.exists():
            return Rollbacks()
        try:
            return Rollbacks.model_validate_json(path.read_bytes())
        except ValueError:
            raise PretrainError(f"{path} cannot be read; without it the run would take other data") from None


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
