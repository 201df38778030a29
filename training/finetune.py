"""Joint finetuning on packed rows: `[note | suffix of each labelled task]`, cross-entropy on the answer letter.

A step holds notes of every note type, so every task has answers in it; its loss is the mean over tasks of that task's
mean cross-entropy, so that a task with few labels weighs as much as one with many (paper, 5.4: tasks mixed evenly).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from lang1.discrimination import macro_auroc
from lang1.llama import PackedLlama
from lang1.packing import batches_by_tokens, pack
from lang1.prompt import PackedPrompt, PromptEncoder
from training.encoded import NO_LABEL, EncodedNotes
from training.recipe import Optimization, RecipeError

Logits = dict[str, npt.NDArray[np.float64]]
Log = Callable[[dict[str, float]], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One note of a step: its prompt and, in suffix order, the label of each question."""

    prompt: PackedPrompt
    labels: tuple[int, ...]


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
    questions_per_note: int | None = None,
    first_note_tokens: int | None = None,
    grow_steps: int = 0,
) -> Iterator[list[Row]]:
    """Endless steps of at most `batch_tokens` tokens. Notes are drawn without replacement, epoch by epoch and type by
    type, types in turn. With `questions_per_note`, that many labelled tasks are drawn for each note; with
    `first_note_tokens`, notes are cut to that length at first and the cut grows to the whole over `grow_steps`."""
    names = list(notes.labels)
    labels = np.stack([notes.labels[name] for name in names], axis=1)
    usable = np.flatnonzero((labels != NO_LABEL).any(axis=1))
    types = np.asarray(notes.note_types)
    groups = [usable[types[usable] == loinc] for loinc in sorted(set(types[usable].tolist()))]
    assert groups, "training needs at least one labelled note"
    streams = [_endless_epochs(group, rng) for group in groups]
    turn = 0
    pending: Row | None = None
    done = 0
    while True:
        cut = None
        if first_note_tokens is not None and done < grow_steps:
            cut = first_note_tokens + (encoder.max_note_tokens - first_note_tokens) * done // grow_steps
        done += 1
        step: list[Row] = []
        tokens = 0
        while True:
            row = pending or _row(
                notes, next(streams[turn % len(streams)]), names, labels, encoder, rng, questions_per_note, cut
            )
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


def _row(
    notes: EncodedNotes,
    index: int,
    names: Sequence[str],
    labels: npt.NDArray[np.int8],
    encoder: PromptEncoder,
    rng: np.random.Generator,
    questions_per_note: int | None,
    cut: int | None,
) -> Row:
    asked = np.flatnonzero(labels[index] != NO_LABEL)
    if questions_per_note is not None and len(asked) > questions_per_note:
        asked = np.sort(rng.choice(asked, questions_per_note, replace=False))
    prompt = notes.prompt(index, [names[int(i)] for i in asked], encoder, max_tokens=cut)
    return Row(prompt, tuple(int(labels[index, i]) for i in asked))


def answer_loss(model: PackedLlama, rows: Sequence[Row], answer_space: str, device: torch.device) -> Tensor:
    """Mean over tasks of the task's mean cross-entropy on the answer letter. Scalar float32."""
    batch = pack([row.prompt for row in rows], device)
    labels = [label for row in rows for label in row.labels]
    tasks = [suffix.task for row in rows for suffix in row.prompt.suffixes]
    by_task: dict[str, list[Tensor]] = {}
    if answer_space == "vocabulary":
        logits = F.linear(model.hidden_states(batch, read_only=True), model.lm_head.weight).float()
        targets = torch.tensor([options[k] for options, k in zip(batch.option_ids, labels, strict=True)], device=device)
        losses = F.cross_entropy(logits, targets, reduction="none")
        for task, loss in zip(tasks, losses, strict=True):
            by_task.setdefault(task, []).append(loss)
    else:
        stacked: dict[str, list[tuple[Tensor, int]]] = {}
        for task, option_logits, label in zip(tasks, model.option_logits(batch), labels, strict=True):
            stacked.setdefault(task, []).append((option_logits, label))
        for task, pairs in stacked.items():
            targets = torch.tensor([label for _, label in pairs], device=device)
            by_task[task] = [F.cross_entropy(torch.stack([logit for logit, _ in pairs]), targets)]
    return torch.stack([torch.stack(losses).mean() for losses in by_task.values()]).mean()


def learning_rate(step: int, optimization: Optimization) -> float:
    """Linear warm-up, then cosine to the final ratio. `step` counts from 0."""
    peak, warm = optimization.learning_rate, optimization.warmup_steps
    if step < warm:
        return peak * (step + 1) / warm
    progress = (step - warm) / max(1, optimization.steps - warm)
    floor = optimization.final_learning_rate_ratio
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress))))


def make_optimizer(model: PackedLlama, optimization: Optimization) -> torch.optim.AdamW:
    """AdamW; norms and biases are not decayed."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() > 1]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() <= 1]
    groups = [{"params": decayed, "weight_decay": optimization.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=optimization.learning_rate, betas=optimization.betas, eps=optimization.eps)


def train(
    model: PackedLlama,
    steps: Iterator[list[Row]],
    optimization: Optimization,
    *,
    precision: str,
    answer_space: str,
    validate_every_steps: int = 0,
    patience_steps: int = 0,
    validate: Callable[[], dict[str, float]] | None = None,
    log: Log = lambda _: None,
) -> TrainingHistory:
    """Train in place. With `validate` (which returns "score", higher is better), the best weights are restored at the
    end and the run stops after `patience_steps` without a better one. Raises FloatingPointError for a NaN loss."""
    device = next(model.parameters()).device
    model.requires_grad_(True).train()
    optimizer = make_optimizer(model, optimization)
    history = TrainingHistory()
    best_score, best_weights = -math.inf, None
    started = time.monotonic()
    for step in range(optimization.steps):
        rate = learning_rate(step, optimization)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = next(steps)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = answer_loss(model, rows, answer_space, device)
        loss.backward()  # type: ignore[no-untyped-call]
        if optimization.max_gradient_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), optimization.max_gradient_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = loss.item()
        if not math.isfinite(value):
            raise FloatingPointError(
                f"the loss is {value} at step {step}; lower learning_rate or set max_gradient_norm"
            )
        history.notes_seen += len(rows)
        history.tokens_seen += sum(row.prompt.total_tokens for row in rows)
        log({"step": step + 1, "loss": value, "learning_rate": rate, "notes": len(rows)})
        last = step + 1 == optimization.steps
        if validate is not None and ((step + 1) % validate_every_steps == 0 or last):
            measured = {"step": float(step + 1), "loss": value, **validate()}
            if math.isnan(measured["score"]):
                raise RecipeError("finetuning.validation_notes: a task has no AUROC on these few notes; raise it")
            model.train()
            history.validations.append(measured)
            if measured["score"] > best_score:
                best_score, history.best_step = measured["score"], step + 1
                best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            elif step + 1 - history.best_step >= patience_steps:
                break
    if best_weights is not None:
        model.load_state_dict(best_weights)
    history.seconds = time.monotonic() - started
    model.requires_grad_(False).eval()
    return history


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
