"""The five dashboards, built from the metrics and the task registry; `python -m monitoring.generate` writes them."""

from __future__ import annotations

from lang1.label_rules import length_of_stay
from lang1.tasks import Task, TaskRegistry
from monitoring.calibration_eprocess import ALARM_E_VALUE
from monitoring.drift import MIN_EFFECT
from monitoring.panels import MARKS, Board, Panel
from monitoring.rules import (
    AVAILABILITY_GOAL,
    INTAKE_OLD_S,
    MONITOR_STALE_S,
    OUTBOX_OLD_S,
    SLOW_S,
    error_ratio,
)

_ALLOWED = 1 - AVAILABILITY_GOAL


def boards(registry: TaskRegistry) -> tuple[Board, ...]:
    """The five dashboards."""
    return (_overview(), _service(), _drift(registry), _quality(registry), _beds(registry))


def _overview() -> Board:
    return Board(
        "lang1-overview", "Lang1: overview", "Is it up, is it trusted, what is waiting.",
        {
            "Now": (
                Panel("Model version", {"{{model_version}}": "max by (model_version) (lang1_model_info{})"},
                      single=True, width=6),
                Panel("Error budget left, 3 days", {"left": f"1 - {error_ratio('3d')}{{}} / {_ALLOWED:.6g}"},
                      unit="percentunit", single=True, width=6, says=f"Of {AVAILABILITY_GOAL:.1%} without a 5xx."),
                Panel("Alarms of the monitor", {
                    "drift": "sum(lang1_drift_alarm{}) or vector(0)",
                    "calibration": "sum(lang1_calibration_alarm{}) or vector(0)",
                    "quality": "sum(lang1_quality_alarm{}) or vector(0)",
                }, single=True, width=6),
                Panel("Not written to the EHR", {
                    "waiting": "max(lang1_outbox_pending{}) or vector(0)",
                    "dead": "max(lang1_outbox_dead{}) or vector(0)",
                }, single=True, width=6),
            ),
            "Traffic": (
                Panel("Notes scored a minute, by type",
                      {"{{note_type}}": "sum by (note_type) (rate(lang1_notes_scored_total{}[10m])) * 60"}),
                Panel("Share of answers that are 5xx", {
                    "5 minutes": f"{error_ratio('5m')}{{}}", "1 hour": f"{error_ratio('1h')}{{}}",
                }, unit="percentunit", bound=_ALLOWED),
            ),
            "Time": (
                Panel("Seconds to the answer", {
                    name: f"lang1:request_duration_seconds:{name}_10m{{}}" for name in ("p50", "p95", "p99")
                }, unit="s", bound=SLOW_S),
                Panel("Hours since the monitor came to an end",
                      {"hours": "(time() - max(lang1_monitor_last_success_timestamp_seconds{})) / 3600"},
                      unit="h", bound=MONITOR_STALE_S / 3600),
            ),
            "Retraining": (
                Panel("Requests for a retrained model, by what became of them",
                      {"{{code}}": "max by (code) (lang1_retraining_requests{})"}),
                Panel("Retraining job under way", {"running": "max(lang1_retraining_running{})"}),
            ),
        },
        marks=MARKS,
    )  # fmt: skip


def _service() -> Board:
    return Board(
        "lang1-service", "Lang1: service", "Rate, errors, duration; queues; both ways to the EHR.",
        {
            "Requests": (
                Panel("Requests a second, by status", {"{{code}}": "sum by (code) (rate(lang1_requests_total{}[5m]))"},
                      unit="reqps"),
                Panel("Seconds, 95th percentile, by status", {
                    "{{code}}": "histogram_quantile(0.95, sum by (le, code) "
                                "(rate(lang1_request_duration_seconds_bucket{}[10m])))",
                }, unit="s", bound=SLOW_S),
            ),
            "Notes": (
                Panel("Notes not scored a minute, by cause",
                      {"{{code}}": "sum by (code) (rate(lang1_notes_failed_total{}[10m])) * 60"}),
                Panel("Notes sent again a minute",
                      {"resent": "sum(rate(lang1_notes_resent_total{}[10m])) * 60"}),
            ),
            "Scorer": (
                Panel("Notes waiting for a forward pass", {
                    "waiting": "sum(lang1_queue_depth{})", "room": "sum(lang1_queue_limit{})",
                }),
                Panel("Tokens of a forward pass", {
                    name: f"histogram_quantile({q}, sum by (le) (rate(lang1_batch_tokens_bucket{{}}[10m])))"
                    for name, q in (("p50", 0.5), ("p95", 0.95))
                }),
            ),
            "The EHR": (
                Panel("Oldest score not yet written back", {"age": "max(lang1_outbox_oldest_seconds{})"}, unit="s",
                      bound=OUTBOX_OLD_S),
                Panel("Oldest note not yet fetched", {"age": "max(lang1_intake_oldest_seconds{})"}, unit="s",
                      bound=INTAKE_OLD_S),
                Panel("Written back a minute, by sink and result",
                      {"{{sink}} {{code}}": "sum by (sink, code) (rate(lang1_outbox_written_total{}[10m])) * 60"}),
                Panel("Cards shown a minute, by urgency",
                      {"{{code}}": "sum by (code) (rate(lang1_cards_total{}[10m])) * 60"}),
            ),
        },
        marks=MARKS,
    )  # fmt: skip


def _drift(registry: TaskRegistry) -> Board:
    scores = tuple(
        Panel(f"{task.title}: scores, weekly effect", {
            "{{signal}}": f'max by (signal) (lang1_drift_statistic{{signal=~"(score/)?{task.name}.*"}})',
        }, bound=MIN_EFFECT, says="Kolmogorov-Smirnov distance to the reference; it counts from the line.")
        for task in registry.values()
    )  # fmt: skip
    return Board(
        "lang1-drift", "Lang1: drift", "Do notes and scores still look like those that the model was judged on?",
        {
            "Alarms": (
                Panel("Signals in alarm", {"{{signal}}": "max by (signal) (lang1_drift_alarm{}) == 1"},
                      single=True, width=24, says="Empty while no signal is in alarm."),
            ),
            "Notes": (
                Panel("Notes: weekly effect",
                      {"{{signal}}": 'max by (signal) (lang1_drift_statistic{signal=~"note.*"})'}, bound=MIN_EFFECT),
                Panel("Share of notes that were cut", {
                    "cut": "sum(rate(lang1_notes_truncated_total{}[1d])) / sum(rate(lang1_notes_scored_total{}[1d]))",
                }, unit="percentunit"),
                Panel("Notes by type, share", {
                    "{{note_type}}": "sum by (note_type) (rate(lang1_notes_scored_total{}[1d])) "
                                     "/ on() group_left() sum(rate(lang1_notes_scored_total{}[1d]))",
                }, unit="percentunit"),
                Panel("Tokens of a note, median", {
                    "{{note_type}}": "histogram_quantile(0.5, "
                                     "sum by (le, note_type) (rate(lang1_note_tokens_bucket{}[1d])))",
                }),
            ),
            "Scores": scores,
        },
        days=90,
        marks=MARKS,
    )  # fmt: skip


def _quality(registry: TaskRegistry) -> Board:
    def of(task: Task) -> tuple[Panel, ...]:
        name = task.name
        return (
            Panel("AUROC, realised and estimated", {
                "{{bound}}, shown {{shown}}": f'max by (bound, shown) (lang1_realized_auroc{{task="{name}"}})',
                "baseline": f'max(lang1_baseline_auroc{{task="{name}"}})',
                "estimate without labels (advisory)": f'max(lang1_estimated_auroc{{task="{name}"}})',
            }),
            Panel("Calibration: log10 of the e-value", {
                "{{direction}}, shown {{shown}}":
                    f'max by (direction, shown) (lang1_calibration_evalue{{task="{name}"}})',
            }, bound=float(len(str(int(ALARM_E_VALUE))) - 1), says="The alarm is at the line, and stays."),
            Panel("Calibration error of the last mature month", {
                "{{bound}}, shown {{shown}}": f'max by (bound, shown) (lang1_ece{{task="{name}"}})',
            }, says="perfect_99th is what a perfectly calibrated model exceeds in 1% of such months."),
            Panel("Label coverage of the oldest immature week",
                  {"coverage": f'max(lang1_label_coverage_ratio{{task="{name}"}})'}, unit="percentunit"),
        )  # fmt: skip

    return Board(
        "lang1-quality", "Lang1: realised quality",
        "On mature outcomes alone; apart by whether the score was shown to somebody.",
        {task.title: of(task) for task in registry.values()}, days=365, marks=MARKS,
    )  # fmt: skip


def _beds(registry: TaskRegistry) -> Board:
    stays = [task for task in registry.values() if task.label_rule == length_of_stay.__name__]
    return Board(
        "lang1-beds", "Lang1: beds", "Expected occupancy and departures, and the scores behind them.",
        {
            "House": (
                Panel("Expected occupancy", {
                    "{{bound}}": 'max by (bound) (lang1_beds_expected{signal="occupancy"})',
                }, says="At the next census; 80% interval."),
                Panel("Expected departures today", {
                    "{{bound}}": 'max by (bound) (lang1_beds_expected{signal="departures"})',
                }),
            ),
            "Length of stay": tuple(
                Panel(f"{task.title}: mean adverse probability", {
                    "mean": f'sum(rate(lang1_score_sum{{task="{task.name}"}}[1d])) '
                            f'/ sum(rate(lang1_score_count{{task="{task.name}"}}[1d]))',
                }, unit="percentunit", width=24)
                for task in stays
            ),
        },
        days=14,
        marks=MARKS,
    )  # fmt: skip
