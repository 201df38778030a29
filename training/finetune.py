"""Joint finetuning on packed rows: `[note | suffix of each labelled task]`, cross-entropy on the answer letter.

A step holds notes of every note type, so every task has answers in it; its loss is the mean over tasks of that task's
mean cross-entropy, so that a task with few labels weighs as much as one with many (paper, 5.4: tasks mixed evenly).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lang1.discrimination import macro_auroc
from lang1.llama import PackedLlama
from lang1.packing import PackedBatch, batches_by_tokens, pack
from lang1.prompt import PackedPrompt, PromptEncoder
from training.encoded import NO_LABEL, EncodedNotes
from training.recipe import Optimization, RecipeError
from training.resume import Position, TrainingState

Logits = dict[str, npt.NDArray[np.float64]]
Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One note of a step: its index, its prompt and, in suffix order, the label of each question."""

    note: int
    prompt: PackedPrompt
    labels: tuple[int, ...]


class Objective(Protocol):
    """What a step minimises."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """Weights of the objective's own, trained beside the model's and then dropped."""
        ...

    def __call__(self, model: PackedLlama, rows: Sequence[Row]) -> dict[str, Tensor]:
        """Scalar float32 terms by name; "loss" is the one that is minimised."""
        ...


@dataclass(slots=True)
class TrainingHistory:
    """What a run measured: one entry a validation. `best_step` is the step whose weights were kept."""

    validations: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0
    seconds: float = 0.0
    notes_seen: int = 0
    tokens_seen: int = 0


def steps_of_rows(
    notes: EncodedNotes,
    encoder: PromptEncoder,
    batch_tokens: int,
    rng: np.random.Generator,
    even_classes: float = 0.0,
) -> Iterator[list[Row]]:
    """Endless steps of at most `batch_tokens` tokens, note types in turn, each note with all its labelled tasks.

    Notes are drawn without replacement, epoch by epoch; the share `even_classes` of them by task and class instead.
    """
    names = list(notes.labels)
    labels = np.stack([notes.labels[name] for name in names], axis=1)
    usable = np.flatnonzero((labels != NO_LABEL).any(axis=1))
    types = np.asarray(notes.note_types)
    groups = [usable[types[usable] == loinc] for loinc in sorted(set(types[usable].tolist()))]
    assert groups, "training needs at least one labelled note"
    streams = [_drawn(group, labels[group], even_classes, rng) for group in groups]
    turn = 0
    pending: Row | None = None
    while True:
        step: list[Row] = []
        tokens = 0
        while True:
            row = pending or _row(notes, next(streams[turn % len(streams)]), names, labels, encoder)
            pending = None
            if step and tokens + row.prompt.total_tokens > batch_tokens:
                pending = row
                break
            step.append(row)
            tokens += row.prompt.total_tokens
            turn += 1
        yield step


def _endless_epochs(indices: npt.NDArray[np.intp], rng: np.random.Generator) -> Iterator[int]:
    while True:
        yield from rng.permutation(indices).tolist()


def _drawn(
    indices: npt.NDArray[np.intp], labels: npt.NDArray[np.int8], even_classes: float, rng: np.random.Generator
) -> Iterator[int]:
    """`indices` epoch by epoch; with probability `even_classes`, by task and class, evenly. `labels` (n, T)."""
    everything = _endless_epochs(indices, rng)
    by_class = [
        [_endless_epochs(indices[column == option], rng) for option in sorted(set(column[column != NO_LABEL].tolist()))]
        for column in labels.T
        if (column != NO_LABEL).any()
    ]
    while True:
        if rng.random() < even_classes:
            classes = by_class[rng.integers(len(by_class))]
            yield next(classes[rng.integers(len(classes))])
        else:
            yield next(everything)


def _row(
    notes: EncodedNotes, index: int, names: Sequence[str], labels: npt.NDArray[np.int8], encoder: PromptEncoder
) -> Row:
    asked = np.flatnonzero(labels[index] != NO_LABEL)
    prompt = notes.prompt(index, [names[int(i)] for i in asked], encoder)
    return Row(index, prompt, tuple(int(labels[index, i]) for i in asked))


def answer_loss(
    model: PackedLlama, hidden: Tensor, batch: PackedBatch, rows: Sequence[Row], answer_space: str
) -> Tensor:
    """Mean over tasks of the task's mean cross-entropy on the answer letter. `hidden` (R, hidden); scalar float32."""
    labels = [label for row in rows for label in row.labels]
    by_task: dict[str, list[int]] = {}
    for read, task in enumerate(suffix.task for row in rows for suffix in row.prompt.suffixes):
        by_task.setdefault(task, []).append(read)
    losses: list[Tensor] = []
    if answer_space == "vocabulary":
        logits = F.linear(hidden, model.lm_head.weight).float()
        letters = [options[label] for options, label in zip(batch.option_ids, labels, strict=True)]
        every = F.cross_entropy(logits, torch.tensor(letters, device=hidden.device), reduction="none")
        losses = [every[reads].mean() for reads in by_task.values()]
    else:
        found = model.answer_logits(hidden, batch)
        for reads in by_task.values():
            targets = torch.tensor([labels[read] for read in reads], device=hidden.device)
            losses.append(F.cross_entropy(torch.stack([found[read] for read in reads]), targets))
    return torch.stack(losses).mean()


@dataclass(frozen=True, slots=True)
class Answers:
    """The tasks' answers alone."""

    answer_space: str = "vocabulary"

    def parameters(self) -> Iterable[nn.Parameter]:
        return ()

    def __call__(self, model: PackedLlama, rows: Sequence[Row]) -> dict[str, Tensor]:
        batch = pack([row.prompt for row in rows], next(model.parameters()).device)
        hidden = model.hidden_states(batch, read_only=True)
        return {"loss": answer_loss(model, hidden, batch, rows, self.answer_space)}


def learning_rate(step: int, optimization: Optimization) -> float:
    """Linear warm-up, then cosine to the final ratio. `step` counts from 0."""
    peak, warm = optimization.learning_rate, optimization.warmup_steps
    if step < warm:
        return peak * (step + 1) / warm
    progress = (step - warm) / max(1, optimization.steps - warm)
    floor = optimization.final_learning_rate_ratio
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def make_optimizers(
    model: PackedLlama, optimization: Optimization, more: Iterable[nn.Parameter] = ()
) -> list[torch.optim.Optimizer]:
    """AdamW, with Muon for the layers' matrices if the recipe asks; norms, biases and `more` are not decayed."""
    trained = [p for p in model.parameters() if p.requires_grad]
    decayed, plain = [p for p in trained if p.dim() > 1], [p for p in trained if p.dim() <= 1]
    rate, decay = optimization.learning_rate, optimization.weight_decay
    optimizers: list[torch.optim.Optimizer] = []
    if optimization.layer_matrices == "muon":
        inside = {id(p) for p in model.model.layers.parameters()}
        matrices = [p for p in decayed if id(p) in inside]
        decayed = [p for p in decayed if id(p) not in inside]
        # Scaled to the size of AdamW's updates, so that one learning rate serves both.
        optimizers.append(torch.optim.Muon(matrices, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    groups = [{"params": decayed, "weight_decay": decay}, {"params": [*plain, *more], "weight_decay": 0.0}]
    optimizers.append(torch.optim.AdamW(groups, lr=rate, betas=optimization.betas, eps=optimization.eps))
    return optimizers


def train(
    model: PackedLlama,
    steps: Iterator[list[Row]],
    optimization: Optimization,
    objective: Objective,
    *,
    precision: str,
    parameters: Iterable[nn.Parameter] | None = None,
    validate_every_steps: int = 0,
    patience_steps: int = 0,
    validate: Callable[[], dict[str, float]] | None = None,
    log: Log = lambda _: None,
    state: TrainingState | None = None,
) -> TrainingHistory:
    """Train in place. With `validate` (which returns "score", higher is better), the best weights are restored at the
    end and the run stops after `patience_steps` without a better one. Raises FloatingPointError for a NaN loss.

    `parameters` are those that learn, all by default. With `state` the run goes on where an earlier one was stopped:
    `steps` and the generators must begin as they did then.
    """
    device = next(model.parameters()).device
    model.requires_grad_(parameters is None).train()
    for parameter in parameters or ():
        parameter.requires_grad_(True)
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    extra = list(objective.parameters())
    optimizers = make_optimizers(model, optimization, extra)
    at, best_weights = Position(), None
    if state is not None and (found := state.load(weights, extra, optimizers)) is not None:
        at, best_weights = found
        for _ in range(at.step):
            next(steps)
    begun = time.monotonic() - at.seconds
    for step in range(at.step, optimization.steps):
        rate = learning_rate(step, optimization)
        rows = next(steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            terms = objective(model, rows)
        terms["loss"].backward()  # type: ignore[no-untyped-call]
        if optimization.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_([*weights.values(), *extra], optimization.max_gradient_norm)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        measured_terms = {name: term.item() for name, term in terms.items()}
        value = measured_terms["loss"]
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {step}; lower learning_rate or set max_gradient_norm"
            )
        at.step = step + 1
        at.notes_seen += len(rows)
        at.tokens_seen += sum(row.prompt.total_tokens for row in rows)
        log({"step": step + 1, **measured_terms})
        last = at.step == optimization.steps
        if validate is not None and (at.step % validate_every_steps == 0 or last):
            measured = {"step": float(at.step), **measured_terms, **validate()}
            if math.isnan(measured["score"]):
                raise RecipeError("finetuning.validation_notes: a task has no AUROC on these few notes; raise it")
            model.train()
            at.validations.append(measured)
            if measured["score"] > at.best_score:
                at.best_score, at.best_step = measured["score"], at.step
                best_weights = {name: parameter.detach().clone() for name, parameter in weights.items()}
            elif at.step - at.best_step >= patience_steps:
                break
        at.seconds = time.monotonic() - begun
        if state is not None and not last and state.due(at.step):
            state.save(at, weights, extra, optimizers, best_weights)
    if best_weights is not None:
        with torch.no_grad():
            for name, parameter in weights.items():
                parameter.copy_(best_weights[name])
    model.requires_grad_(False).eval()
    return TrainingHistory(
        validations=at.validations, best_step=at.best_step, seconds=time.monotonic() - begun,
        notes_seen=at.notes_seen, tokens_seen=at.tokens_seen,
    )  # fmt: skip


@torch.inference_mode()
def predict_logits(
    model: PackedLlama,
    notes: EncodedNotes,
    encoder: PromptEncoder,
    *,
    max_batch_tokens: int = 16_384,
    precision: str = "float32",
    indices: npt.NDArray[np.intp] | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> Logits:
    """Raw option logits of every labelled (note, task) pair: float64 (N, K) a task, NaN rows elsewhere."""
    device = next(model.parameters()).device
    model.eval()
    chosen = np.arange(len(notes)) if indices is None else indices
    out = {
        name: np.full((len(notes), len(encoder.registry[name].options)), np.nan, dtype=np.float64)
        for name in notes.labels
    }
    asked = [(int(i), notes.labelled_tasks(int(i))) for i in chosen]
    asked = [(i, tasks) for i, tasks in asked if tasks]
    prompts = [notes.prompt(i, tasks, encoder) for i, tasks in asked]
    for group in batches_by_tokens(prompts, max_batch_tokens):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            logits = iter(model.option_logits(pack([prompts[j] for j in group], device)))
        for j in group:
            index, tasks = asked[j]
            for task in tasks:
                out[task][index] = next(logits).float().cpu().numpy()
        advance(len(group))
    return out


def probabilities_of(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Softmax over the last axis."""
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def task_aurocs(logits: Logits, notes: EncodedNotes) -> dict[str, float]:
    """Macro AUROC of every task over the pairs that were predicted."""
    found = {}
    for name, values in logits.items():
        rows = np.isfinite(values).all(axis=1) & (notes.labels[name] != NO_LABEL)
        found[name] = macro_auroc(probabilities_of(values[rows]), notes.labels[name][rows])
    return found
