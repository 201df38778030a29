"""Prometheus recording and alert rules, as data: from the metrics, the bounds of the monitor and nothing else.

`scope` are labels (`{"namespace": "lang1"}`) that every selector asks for and every recorded series gets, so that two
installations under one Prometheus stay apart. Each alert names its section of the runbook. Drift, calibration and
quality are tickets and never pages: nobody mends a model at night.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

RUNBOOK: Final = "docs/runbook.md"
AVAILABILITY_GOAL: Final = 0.999
"""Share of requests that are answered without a 5xx."""
SLOW_S: Final = 2.0
"""Half of what a person waits for at a chart, and far more than the service takes."""
OUTBOX_OLD_S: Final = 900
INTAKE_OLD_S: Final = 900
MONITOR_STALE_S: Final = 26 * 3600
_NOTE_FAULTS: Final = "exception|transient|no-store|timeout"
_WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")

Severity = Literal["page", "ticket"]
Remedy = Literal["retrain"]
RETRAIN: Final[Remedy] = "retrain"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `expr` has `{…}` selectors without scope; `hold` is how long it must be true."""

    name: str
    severity: Severity
    hold: str
    expr: str
    summary: str
    description: str
    remedy: Remedy | None = None
    """What may be done about it without a person: the label by which Alertmanager routes it to the service."""


def error_ratio(window: str) -> str:
    """Name of the recorded share of 5xx answers over a window."""
    return f"lang1:error_ratio:rate{window}"


def _burn(factor: float, long: str, short: str) -> str:
    bound = f"{factor * (1 - AVAILABILITY_GOAL):.6g}"
    return f"{error_ratio(long)}{{}} > {bound} and {error_ratio(short)}{{}} > {bound}"


def _of_loaded(labels: str, alarm: str) -> str:
    # A gauge stays after its model was replaced: only that of a loaded one counts.
    loaded = "max by (model_version) (lang1_model_info{}) == 1"
    return f"max by ({labels}, model_version) ({alarm}{{}}) == 1 and on (model_version) {loaded}"


def alerts() -> tuple[Alert, ...]:
    """Every alert, the gravest first."""
    return (
        Alert(
            "Lang1NoModel", "page", "5m", "absent(lang1_model_info{} == 1)",
            "No scorer has a model loaded",
            "No process has told of a loaded model for 5 minutes: nothing new is scored.",
        ),
        Alert(
            "Lang1ErrorBudgetFast", "page", "2m", _burn(14.4, "1h", "5m"),
            "5xx answers use up the month's error budget within two days",
            f"The goal is {AVAILABILITY_GOAL:.1%} of requests without a 5xx; the last hour burned 14.4 times as fast.",
        ),
        Alert(
            "Lang1ErrorBudget", "page", "15m", _burn(6, "6h", "30m"),
            "5xx answers use up the month's error budget within five days",
            f"The goal is {AVAILABILITY_GOAL:.1%} of requests without a 5xx; six hours burned 6 times as fast.",
        ),
        Alert(
            "Lang1ErrorBudgetSlow", "ticket", "1h", _burn(1, "3d", "6h"),
            "5xx answers use up the error budget as fast as it comes",
            "Over three days more requests failed than the goal allows.",
        ),
        Alert(
            "Lang1WriteBackOld", "page", "5m", f"max(lang1_outbox_oldest_seconds{{}}) > {OUTBOX_OLD_S}",
            "A score has waited over 15 minutes to be written to the EHR",
            "The EHR is down, refuses writes, or the writer does not run. Nothing is lost: the rows wait.",
        ),
        Alert(
            "Lang1WriteBackDead", "ticket", "0m", "max(lang1_outbox_dead{}) > 0",
            "Scores could not be written to the EHR",
            "They are kept as dead letters until somebody mends the cause and replays them.",
        ),
        Alert(
            "Lang1IntakeOld", "page", "5m", f"max(lang1_intake_oldest_seconds{{}}) > {INTAKE_OLD_S}",
            "A note that the EHR told of has waited over 15 minutes to be fetched",
            "The EHR does not answer, or the intake does not run. Nothing is lost: the rows wait.",
        ),
        Alert(
            "Lang1IntakeDead", "ticket", "0m", "max(lang1_intake_dead{}) > 0",
            "Notes that the EHR told of could not be taken in",
            "They are kept until somebody mends the cause and replays them.",
        ),
        Alert(
            "Lang1Slow", "ticket", "10m", f"lang1:request_duration_seconds:p95_10m{{}} > {SLOW_S:g}",
            f"1 answer in 20 takes more than {SLOW_S:g} s",
            "Scorers are short of cores or GPUs, or notes come in faster than they are scored.",
        ),
        Alert(
            "Lang1QueueFilling", "ticket", "5m", "sum(lang1_queue_depth{}) > 0.8 * sum(lang1_queue_limit{})",
            "The scorers' queues are four fifths full",
            "When they are full, callers get 503 with Retry-After.",
        ),
        Alert(
            "Lang1NotesFailing", "ticket", "15m",
            f'sum by (code) (rate(lang1_notes_failed_total{{code=~"{_NOTE_FAULTS}"}}[15m])) > 0.01',
            "Notes fail with code {{ $labels.code }}",
            "More than one note in 100 s is not scored, for a reason that is not the note's.",
        ),
        Alert(
            "Lang1NoNotes", "ticket", "30m",
            "sum(increase(lang1_notes_scored_total{}[2h])) == 0 and on() (hour() >= 10 < 18) "
            "and on() (day_of_week() > 0 < 6)",
            "No note was scored for two hours on a working day",
            "The feed from the EHR has stopped, or what it sends is refused. Hours are in UTC.",
        ),
        Alert(
            "Lang1MonitorStale", "ticket", "10m",
            f"(time() - max(lang1_monitor_last_success_timestamp_seconds{{}}) > {MONITOR_STALE_S}) "
            "or absent(lang1_monitor_last_success_timestamp_seconds{})",
            "The monitor has not come to an end for 26 hours",
            "Drift and calibration are not being watched. Scoring goes on.",
        ),
        Alert(
            "Lang1Calibration", "ticket", "0m", _of_loaded("task, shown, direction", "lang1_calibration_alarm"),
            "{{ $labels.task }}: risks are {{ $labels.direction }}",
            "The calibration test has fired on mature outcomes: outcomes no longer follow the probabilities.",
            RETRAIN,
        ),
        Alert(
            "Lang1Quality", "ticket", "0m", _of_loaded("task, shown", "lang1_quality_alarm"),
            "{{ $labels.task }}: the model ranks patients worse than at its evaluation",
            "The interval of last month's realised AUROC lies wholly under the baseline less 0.02.",
            RETRAIN,
        ),
        Alert(
            "Lang1Drift", "ticket", "0m", _of_loaded("signal", "lang1_drift_alarm"),
            "{{ $labels.signal }} has moved away from the reference for two weeks",
            "Notes or scores look unlike those that the model was judged on. It may still be right.",
            RETRAIN,
        ),
        Alert(
            "Lang1RetrainingFailed", "ticket", "0m",
            'max(lang1_retraining_last_end_timestamp_seconds{code="failed"}) '
            '> (max(lang1_retraining_last_end_timestamp_seconds{code=~"done|held"}) or vector(0))',
            "A retraining job failed, and none has come to its end since",
            "Every try was killed or failed. The champion goes on serving.",
        ),
    )  # fmt: skip


def recording_rules() -> list[dict[str, Any]]:
    """Series that alerts and boards share."""
    rules = []
    for window in _WINDOWS:
        failed = f'sum(rate(lang1_requests_total{{code=~"5.."}}[{window}]))'
        every = f"sum(rate(lang1_requests_total{{}}[{window}]))"
        rules.append({"record": error_ratio(window), "expr": f"({failed} or vector(0)) / {every}"})
    for name, quantile in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        rules.append(
            {
                "record": f"lang1:request_duration_seconds:{name}_10m",
                "expr": f"histogram_quantile({quantile}, "
                "sum by (le) (rate(lang1_request_duration_seconds_bucket{}[10m])))",
            }
        )
    return rules


_SELECTOR: Final = re.compile(r"\blang1[:\w]+\{([^}]*)\}")


def scoped(expr: str, scope: Mapping[str, str]) -> str:
    """The expression with the scope's labels in every selector."""
    return selecting(expr, [f'{name}="{value}"' for name, value in scope.items()])


def selecting(expr: str, matchers: Sequence[str]) -> str:
    """The expression with these label matchers in every selector of our metrics and recorded series."""

    def put(found: re.Match[str]) -> str:
        inside = ",".join([*matchers, *filter(None, [found[1]])])
        return found[0].partition("{")[0] + (f"{{{inside}}}" if inside else "")

    return _SELECTOR.sub(put, expr)


def metric_names(expr: str) -> set[str]:
    """The exported metrics that an expression reads, without recorded series."""
    return set(re.findall(r"\blang1_\w+", expr))


def rule_groups(scope: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """A Prometheus rules file, as data."""
    recorded = [
        {**rule, "expr": scoped(rule["expr"], scope), **({"labels": dict(scope)} if scope else {})}
        for rule in recording_rules()
    ]
    # One group: its rules are evaluated in order, so that an alert reads what was recorded at the same moment.
    return {"groups": [{"name": "lang1", "rules": [*recorded, *(_rule(alert, scope) for alert in alerts())]}]}


def _rule(alert: Alert, scope: Mapping[str, str]) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": scoped(alert.expr, scope),
        "for": alert.hold,
        "labels": {"severity": alert.severity, **({"remedy": alert.remedy} if alert.remedy else {}), **scope},
        "annotations": {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{RUNBOOK}#{alert.name.lower()}",
        },
    }


def expressions() -> Iterator[str]:
    """Every expression of rules and alerts, without scope."""
    yield from (rule["expr"] for rule in recording_rules())
    yield from (alert.expr for alert in alerts())
