"""Batches of token windows: each process's part of the samples of a step, read a step ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from training.pretraining.errors import PretrainError
from training.pretraining.mixing import Mixture
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.shards import CLINICAL, TRAIN, VALIDATION, WEB, Tokens
from training.pretraining.world import World


def mixture_of(recipe: PretrainRecipe, tokens: Tokens) -> Mixture:
    """The recipe's mixture of these tokens. Raises PretrainError when a source with a share has no window."""
    context = recipe.model.max_position_embeddings
    sizes = {name: len(tokens.windows(name, TRAIN, context)) for name in (CLINICAL, WEB)}
    for name, share in ((CLINICAL, recipe.clinical_share), (WEB, 1 - recipe.clinical_share)):
        if share and not sizes[name]:
            raise PretrainError(
                f"the recipe takes {share:.0%} of its sequences from the {name} source, which has no window of "
                f"{context + 1} tokens; make tokens with it, or set clinical_share to {float(name == WEB)}"
            )
    return Mixture(sizes[CLINICAL], sizes[WEB], recipe.clinical_share, recipe.seed)


class Batches:
    """Reads what a step needs while the one before is computed."""

    def __init__(self, recipe: PretrainRecipe, tokens: Tokens, world: World) -> None:
        context = recipe.model.max_position_embeddings
        self.mixture = mixture_of(recipe, tokens)
        self._clinical = tokens.windows(CLINICAL, TRAIN, context)
        self._web = tokens.windows(WEB, TRAIN, context)
        self._world = world
        self._share = per_process(recipe, world.size)
        self._micro = micro_batch(recipe, world.size)
        self._ahead: tuple[int, Future[Tensor]] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")

    @property
    def accumulation(self) -> int:
        return self._share // self._micro

    def at(self, first_sample: int, expected_next: int) -> tuple[Tensor, ...]:
        """This process's micro-batches of the step that starts at a sample: int64 (micro, context + 1) each."""
        if self._ahead is None or self._ahead[0] != first_sample:
            self._ahead = (first_sample, self._pool.submit(self._read, first_sample))
        batch = self._ahead[1].result()
        self._ahead = (expected_next, self._pool.submit(self._read, expected_next))
        return torch.split(batch.to(self._world.device, non_blocking=True), self._micro)

    def _read(self, first_sample: int) -> Tensor:
        mine = first_sample + self._world.rank * self._share + np.arange(self._share, dtype=np.int64)
        clinical, windows = self.mixture.pick(mine)
        rows = np.empty((len(mine), self._clinical.width), dtype=np.int64)
        rows[clinical] = self._clinical.read(windows[clinical])
        rows[~clinical] = self._web.read(windows[~clinical])
        batch = torch.from_numpy(rows)
        return batch.pin_memory() if self._world.device.type == "cuda" else batch

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)


def per_process(recipe: PretrainRecipe, processes: int) -> int:
    """Sequences of a step that one process takes. Raises PretrainError when they do not come out even."""
    batch = recipe.optimization.batch_sequences
    if batch % processes:
        raise PretrainError(f"optimization.batch_sequences {batch} does not divide among {processes} workers")
    return batch // processes


def micro_batch(recipe: PretrainRecipe, processes: int) -> int:
    """Sequences at once: the largest part of the process's share that is not over the recipe's."""
    share = per_process(recipe, processes)
    limit = min(share, recipe.optimization.micro_batch_sequences)
    return next(size for size in range(limit, 0, -1) if share % size == 0)


class HeldOut:
    """The validation windows of each source, the same ones every time, spread over the processes."""

    def __init__(self, recipe: PretrainRecipe, tokens: Tokens, world: World) -> None:
        context = recipe.model.max_position_embeddings
        self._world, self._micro = world, micro_batch(recipe, world.size)
        self.sources = {
            name: windows
            for name, share in ((CLINICAL, recipe.clinical_share), (WEB, 1 - recipe.clinical_share))
            if share and len(windows := tokens.windows(name, VALIDATION, context))
        }
        self._limit = recipe.validation.sequences

    def batches(self, source: str) -> list[tuple[Tensor, Tensor]]:
        """(rows, weights) of this process: int64 (micro, context + 1), and 0 for a row that only fills up."""
        windows = self.sources[source]
        count = min(len(windows), self._limit)
        chosen = np.linspace(0, len(windows) - 1, count).astype(np.int64)
        whole = self._world.size * self._micro
        filled = np.concatenate([chosen, np.full(-count % whole, chosen[0])])
        weights = (np.arange(len(filled)) < count).astype(np.float32)
        mine = slice(self._world.rank, None, self._world.size)
        rows, counted = torch.from_numpy(windows.read(filled[mine])), torch.from_numpy(weights[mine])
        return list(zip(torch.split(rows, self._micro), torch.split(counted, self._micro), strict=True))
