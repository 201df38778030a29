"""Questions answered by a model in training, a part of them at each process.

Notes are of the validation split of a dataset folder, which pretraining never reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lang1.prompt import PromptEncoder
from lang1.tasks import BUILT_IN
from training.dataset import VALIDATION, open_dataset
from training.pretraining.batches import micro_batch
from training.pretraining.benchmarks import PUBMEDQA, SCIQ, benchmark_questions
from training.pretraining.model import ShardedModel
from training.pretraining.questions import Question, comprehension_questions, note_tokens, scores, task_questions
from training.pretraining.recipe import PretrainRecipe
from training.pretraining.shards import TOKENIZER_FILE, Tokens
from training.pretraining.world import World
from training.synth.generate import read_notes

NOTES = "notes"
_ROUND_TO = 64
"""Prompts are padded to multiples of so many tokens, so that compiled blocks see few shapes."""


class Probes:
    """The questions of a recipe, encoded once. `asked_of` holds a dataset folder (`NOTES`) and files by benchmark."""

    def __init__(self, recipe: PretrainRecipe, tokens: Tokens, asked_of: Mapping[str, Path], world: World) -> None:
        assert recipe.evaluation is not None
        plan, context = recipe.evaluation, recipe.model.max_position_embeddings
        encoder = PromptEncoder.from_file(
            tokens.folder / TOKENIZER_FILE, BUILT_IN, note_tokens(plan, context), tokens.manifest.bos_token
        )
        self.questions: list[Question] = []
        if NOTES in asked_of:
            dataset = open_dataset(asked_of[NOTES], BUILT_IN)
            table = read_notes(dataset.folder, [VALIDATION])
            table = table.take(np.random.default_rng(recipe.seed).permutation(table.num_rows))
            for task in dataset.trained_tasks(BUILT_IN).values():
                self.questions += task_questions(table, task, encoder, plan)
            if dataset.knows_what_is_stated:
                self.questions += comprehension_questions(table, encoder, plan.comprehension_questions)
        for name in (SCIQ, PUBMEDQA):
            if name in asked_of:
                self.questions += benchmark_questions(name, asked_of[name], encoder, plan.comprehension_questions)
        self._world, self._rows = world, micro_batch(recipe, world.size)
        self._context = context

    def ask(self, model: ShardedModel) -> dict[str, Any]:
        """AUROC by task and their mean; of comprehension accuracy too. All processes answer a part."""
        width = max(len(question.options) for question in self.questions)
        found = torch.zeros(len(self.questions), width, device=self._world.device)
        order = sorted(range(len(self.questions)), key=lambda index: -len(self.questions[index].ids))
        whole = self._rows * self._world.size
        with model.reading() as module:
            for start in range(0, len(order), whole):
                chunk = order[start : start + whole]
                filled = chunk + [chunk[0]] * (whole - len(chunk))
                mine = slice(self._world.rank * self._rows, (self._world.rank + 1) * self._rows)
                length = -(-len(self.questions[chunk[0]].ids) // _ROUND_TO) * _ROUND_TO
                rows = self._padded([self.questions[i].ids for i in filled[mine]], min(length, self._context))
                logits = module(rows)
                for row, index in enumerate(filled[mine]):
                    # What only fills up is another process's to report.
                    if self._world.rank * self._rows + row < len(chunk):
                        question = self.questions[index]
                        options = torch.tensor(question.options, device=self._world.device)
                        found[index, : len(options)] = logits[row, len(question.ids) - 1, options].float()
        return scores(self.questions, self._world.sum(found).cpu())

    def _padded(self, rows: Sequence[tuple[int, ...]], length: int) -> Tensor:
        # What stands behind a prompt cannot be seen from it, so any id will do.
        return torch.tensor([[*row, *[0] * (length - len(row))] for row in rows], device=self._world.device)
