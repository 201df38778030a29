"""What a scorer's process tells of itself: its model, its batches and its queue."""

from __future__ import annotations


def publish_model(version: str, old_version: str | None, max_queued_notes: int) -> None:
    """A model was loaded, in the place of another where there was one."""
    from monitoring import metrics

    if old_version is not None:
        metrics.model_info.labels(old_version).set(0)
    metrics.model_info.labels(version).set(1)
    metrics.queue_limit.set(max_queued_notes)


def count_batch(tokens: int) -> None:
    """A forward pass over so many tokens."""
    from monitoring import metrics

    metrics.batch_tokens.observe(tokens)


def count_depth(notes: int) -> None:
    """So many notes wait now."""
    from monitoring import metrics

    metrics.queue_depth.set(notes)
