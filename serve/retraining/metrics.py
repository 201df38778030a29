"""The requests as gauges, set by whoever changed or counted them last: the newest figure is the true one."""

from __future__ import annotations

from serve.retraining.requests import Counted


def publish(counted: Counted) -> None:
    """Set the gauges of retraining."""
    from monitoring import metrics

    for status, count in counted.by_status.items():
        metrics.retraining_requests.labels(status).set(count)
    metrics.retraining_running.set(counted.by_status["running"])
    for status, at_ms in counted.last_end_ms.items():
        metrics.retraining_last_end_timestamp_seconds.labels(status).set(at_ms / 1000)
