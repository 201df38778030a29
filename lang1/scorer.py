"""The torch scorer: notes in, risks out, in one packed forward pass, for the service and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from lang1.bundle import Bundle, load_bundle
from lang1.errors import BundleError, Lang1Error
from lang1.llama import PackedLlama, load_llama
from lang1.note_types import NOTE_TYPES
from lang1.notes import ClinicalNote
from lang1.packing import batches_by_tokens, pack
from lang1.prompt import PackedPrompt, PromptEncoder
from lang1.scores import ModelIdentity, RiskScores, scores_from_logits
from lang1.tasks import TaskRegistry

Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16"]

DEFAULT_MAX_BATCH_TOKENS = 16_384


class DeviceError(Lang1Error):
    """The asked-for device or number type is not on this machine."""

    code = "exception"


def resolve_device(device: Device) -> torch.device:
    """`auto` is CUDA where there is one. Raises DeviceError for a CUDA that is not there."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise DeviceError("device is cuda but torch sees no GPU; set device to cpu or auto, or install a CUDA build")
    return torch.device(device)


def resolve_dtype(dtype: Dtype, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on CUDA and float32 on CPU, where a small model loses no time by it."""
    if dtype == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]


class PackedScorer:
    """A loaded bundle on a device. Thread-safe for reading; callers decide how many threads score at once."""

    def __init__(self, bundle: Bundle, model: PackedLlama, encoder: PromptEncoder, device: torch.device) -> None:
        self.bundle = bundle
        self.model = model
        self.encoder = encoder
        self.device = device
        self.identity: ModelIdentity = bundle.identity
        self.registry: TaskRegistry = encoder.registry
        self._calibrators = bundle.calibrators
        self._thresholds = bundle.thresholds

    @classmethod
    def load(
        cls, bundle: Path, *, device: Device = "auto", dtype: Dtype = "auto", registry: TaskRegistry | None = None
    ) -> PackedScorer:
        """Verify a bundle and load it. Raises BundleError or DeviceError."""
        before = _stamp(bundle)
        verified = load_bundle(bundle, registry)
        manifest = verified.manifest
        where = resolve_device(device)
        model = load_llama(bundle, device=where, dtype=resolve_dtype(dtype, where))
        encoder = PromptEncoder.from_file(
            bundle / "tokenizer.json", verified.registry, manifest.max_note_tokens, manifest.bos_token
        )
        if encoder.vocab_size > model.config.vocab_size:
            raise BundleError(f"the tokenizer has {encoder.vocab_size} tokens, the model {model.config.vocab_size}")
        longest = max(
            len(encoder.suffix(task, loinc).token_ids)
            for task in encoder.registry.values()
            for loinc in (*NOTE_TYPES, None)
        )
        needed = 1 + manifest.max_note_tokens + longest
        if needed > model.config.max_position_embeddings:
            raise BundleError(
                f"a full note and its longest question need {needed} positions, the model has "
                f"{model.config.max_position_embeddings}; make the bundle with a smaller max_note_tokens"
            )
        if _stamp(bundle) != before:
            raise BundleError(f"{bundle.name} changed while it was being loaded; load it again")
        return cls(verified, model, encoder, where)

    def prepare(self, note: ClinicalNote, tasks: Sequence[str] | None = None) -> PackedPrompt:
        """The note's packed prompt: tokenised and cut, cheap enough for the event loop. Raises UnknownTaskError."""
        return self.encoder.encode(note, tasks)

    @torch.inference_mode()
    def score(self, prompts: Sequence[PackedPrompt]) -> list[RiskScores]:
        """Risks of every prompt from one packed forward pass. Raises ScoringError for logits that are not finite."""
        if not prompts:
            return []
        batch = pack(prompts, self.device)
        # One transfer for the whole batch: a read per tensor would wait for the GPU each time.
        logits = [tensor.tolist() for tensor in _to_cpu(self.model.option_logits(batch))]
        results: list[RiskScores] = []
        read = 0
        for prompt in prompts:
            own = {suffix.task: logits[read + i] for i, suffix in enumerate(prompt.suffixes)}
            read += len(prompt.suffixes)
            results.append(
                RiskScores(
                    risks=scores_from_logits(
                        self.registry.select(own), own, prompt.note_type, self._calibrators, self._thresholds
                    ),
                    model=self.identity,
                    note_tokens=prompt.note_tokens,
                    dropped_tokens=prompt.dropped_tokens,
                )
            )
        return results

    def score_notes(
        self,
        notes: Sequence[ClinicalNote],
        tasks: Sequence[str] | None = None,
        max_batch_tokens: int = DEFAULT_MAX_BATCH_TOKENS,
    ) -> list[RiskScores]:
        """Risks of any number of notes, in passes of at most `max_batch_tokens` tokens, results in note order."""
        prompts = [self.prepare(note, tasks) for note in notes]
        results: list[RiskScores] = []
        for group in batches_by_tokens(prompts, max_batch_tokens):
            results.extend(self.score([prompts[index] for index in group]))
        return results


def _stamp(folder: Path) -> list[tuple[str, int, int, int]]:
    """Name, inode, size and time of every file: what was verified must be what is then read."""
    try:
        entries = [(entry.name, entry.stat()) for entry in sorted(folder.iterdir())]
    except OSError:
        return []
    return [(name, found.st_ino, found.st_size, found.st_mtime_ns) for name, found in entries]


def _to_cpu(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    if not tensors or tensors[0].device.type == "cpu":
        return tensors
    return list(torch.split(torch.cat(tensors).cpu(), [tensor.shape[0] for tensor in tensors]))
