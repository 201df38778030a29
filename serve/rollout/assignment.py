"""Which encounters a challenger answers: decided by a hash, so that every replica, and each after a restart, agrees."""

from __future__ import annotations

import hashlib

from lang1.registry import Channels
from serve.note_job import NoteJob

_STEPS = 1_000_000


def unit_of(job: NoteJob, source: str) -> str:
    """What is assigned as a whole: the patient's encounter, or the note where it names none."""
    return unit(source, job.recorded_subject, job.recorded_encounter, job.note_key)


def unit(source: str, subject: str | None, encounter: str | None, note_key: str) -> str:
    """`unit_of` of a recorded prediction."""
    parts = (note_key,) if encounter is None else (source, subject or "", encounter)
    return "".join(f"{len(part)}:{part}" for part in parts)


def place_of(salt: str, unit: str) -> float:
    """Where a unit stands between 0 and 100. Another salt shuffles them anew."""
    digest = hashlib.sha256(f"{salt}\n{unit}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % _STEPS * 100 / _STEPS


def is_challengers(channels: Channels, unit: str) -> bool:
    """Whether the challenger answers a unit. A unit that it has once stays with it as the share grows."""
    if channels.stage != "canary" or channels.rollout_id is None:
        return False
    return place_of(channels.rollout_id, unit) < channels.share
