"""The service's Prometheus metrics: many processes, one folder a node, true sums.

That is prometheus-client's multiprocess mode. Import this module only in a process whose PROMETHEUS_MULTIPROC_DIR was
set before it started: prometheus-client reads the variable at its import. Labels are only task, note type, model
version and outcome code: nothing of a patient.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = CONTENT_TYPE_LATEST

_PROBABILITY_BOUNDS = tuple(i / 20 for i in range(1, 20))
_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)

requests_total = Counter("lang1_requests_total", "Answered requests, probes and scrapes left out", ["code"])
request_duration_seconds = Histogram(
    "lang1_request_duration_seconds", "Seconds from a request's arrival to its answer", ["code"], buckets=_SECONDS
)
notes_scored_total = Counter(
    "lang1_notes_scored_total", "Notes scored and recorded, once each", ["note_type", "model_version"]
)
notes_resent_total = Counter(
    "lang1_notes_resent_total", "Notes answered from the store", ["note_type", "model_version"]
)
notes_failed_total = Counter("lang1_notes_failed_total", "Notes not scored, by outcome code", ["code"])
notes_truncated_total = Counter(
    "lang1_notes_truncated_total", "Scored notes that were cut", ["note_type", "model_version"]
)
cards_total = Counter("lang1_cards_total", "CDS Hooks cards answered, by urgency", ["task", "code"])
card_feedback_total = Counter("lang1_card_feedback_total", "What people did with cards", ["task", "code"])
note_tokens = Histogram(
    "lang1_note_tokens", "Tokens of a scored note that the model read", ["note_type"],
    buckets=(32, 64, 128, 192, 256, 320, 384, 448, 511, 1024, 2048, 4096),
)  # fmt: skip
score = Histogram(
    "lang1_score", "Adverse probability of scored notes", ["task", "model_version"], buckets=_PROBABILITY_BOUNDS
)
batch_tokens = Histogram(
    "lang1_batch_tokens", "Tokens of one forward pass", buckets=(256, 512, 1024, 2048, 4096, 8192, 16384, 65536)
)
queue_depth = Gauge("lang1_queue_depth", "Notes waiting for a forward pass", multiprocess_mode="livesum")
queue_limit = Gauge("lang1_queue_limit", "Notes that may wait at the scorers", multiprocess_mode="livesum")
# Counted in the database by whoever did it last: of several figures the newest is the true one.
outbox_pending = Gauge("lang1_outbox_pending", "Scores not yet written back", multiprocess_mode="livemostrecent")
outbox_oldest_seconds = Gauge(
    "lang1_outbox_oldest_seconds", "Age of the oldest score not yet written back", multiprocess_mode="livemostrecent"
)
outbox_dead = Gauge("lang1_outbox_dead", "Scores whose write-back was given up", multiprocess_mode="livemostrecent")
outbox_written_total = Counter(
    "lang1_outbox_written_total", "Ends of tries to write a resource to the EHR", ["sink", "code"]
)
model_info = Gauge(
    "lang1_model_info", "1 for a model version that is loaded", ["model_version"], multiprocess_mode="livemax"
)
scores_retracted_total = Counter(
    "lang1_scores_retracted_total", "Scores taken back: their document was entered in error or deleted"
)
notifications_total = Counter("lang1_notifications_total", "Subscription notifications taken, by type", ["code"])
notification_gaps_total = Counter("lang1_notification_gaps_total", "Events of a subscription that were missed")
intake_total = Counter("lang1_intake_total", "Resources taken in by the service itself, by outcome code", ["code"])
intake_retries_total = Counter("lang1_intake_retries_total", "Tries that failed and will be made again", ["code"])
intake_pending = Gauge("lang1_intake_pending", "Resources still to be taken in", multiprocess_mode="livemostrecent")
intake_dead = Gauge(
    "lang1_intake_dead", "Resources given up, until they are replayed", multiprocess_mode="livemostrecent"
)
intake_oldest_seconds = Gauge(
    "lang1_intake_oldest_seconds", "Age of the oldest resource still to be taken in", multiprocess_mode="livemostrecent"
)
feed_last_read_timestamp_seconds = Gauge(
    "lang1_feed_last_read_timestamp_seconds", "Unix time of the last search for changes that came to its end",
    multiprocess_mode="livemax",
)  # fmt: skip
feed_failures_total = Counter("lang1_feed_failures_total", "Searches for changes that failed, by code", ["code"])
outcomes_total = Counter(
    "lang1_outcomes_total", "Labels of stays written, by option or by the reason why there is none", ["task", "code"]
)
facts_total = Counter("lang1_facts_total", "Resources taken in as facts, by what became of them", ["type", "code"])
retraining_requests = Gauge(
    "lang1_retraining_requests", "Requests for a retrained model, by what became of them", ["code"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
retraining_running = Gauge(
    "lang1_retraining_running", "1 while a retraining job is under way", multiprocess_mode="mostrecent"
)
retraining_last_end_timestamp_seconds = Gauge(
    "lang1_retraining_last_end_timestamp_seconds",
    "When a retraining job last came to an end, seconds since 1970: done, held for more outcomes, failed", ["code"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
rollout_stage = Gauge(
    "lang1_rollout_stage", "1 for where the rollout stands: none, shadow or canary", ["code"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
rollout_share = Gauge(
    "lang1_rollout_share", "Percent of encounters that the challenger answers", multiprocess_mode="livemostrecent"
)
canary_notes_total = Counter(
    "lang1_canary_notes_total", "Notes answered while a canary is under way, newly scored or not", ["model_version"]
)
canary_fallbacks_total = Counter(
    "lang1_canary_fallbacks_total", "Notes of the challenger that the champion answered in its place", ["code"]
)
shadow_notes_total = Counter(
    "lang1_shadow_notes_total", "Notes for the model that did not answer: scored, or why not", ["code"]
)
guard_evidence = Gauge(
    "lang1_guard_evidence", "Evidence against the challenger, on a log scale: at 1 the rollout ends", ["signal"],
    multiprocess_mode="livemostrecent",
)  # fmt: skip
guard_last_look = Gauge(
    "lang1_guard_last_look_timestamp_seconds", "When the guard last came to an end, seconds since 1970",
    multiprocess_mode="livemostrecent",
)  # fmt: skip
rollbacks_total = Counter("lang1_automatic_rollbacks_total", "Rollouts that the guard ended")
registry_failures_total = Counter("lang1_registry_failures_total", "Looks at the registry that failed")

_GAUGE_FILE = re.compile(r"^gauge_live\w+_(\d+)\.db$")


def note_type_label(loinc: str | None, known: Iterable[str]) -> str:
    """The LOINC code when it is one we know, else "other": a caller's free text must not become a label."""
    return loinc if loinc is not None and loinc in known else "other"


def _drop_dead_gauges(folder: Path) -> None:
    # A killed replica's counters must stay (they are sums of the past); its live gauges must not.
    for file in folder.glob("gauge_live*.db"):
        match = _GAUGE_FILE.match(file.name)
        if match and not Path("/proc", match.group(1)).exists():
            mark_process_dead(int(match.group(1)), str(folder))  # type: ignore[no-untyped-call]


def exposition() -> bytes:
    """All metrics of this node in Prometheus text form, summed over its processes."""
    folder = os.environ[MULTIPROCESS_VARIABLE]
    _drop_dead_gauges(Path(folder))
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
