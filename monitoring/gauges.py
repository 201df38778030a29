"""The monitor's findings as Prometheus gauges. Set by the monitor alone; they stay after it dies, and say when it ran.

Like `monitoring.metrics`, imported only where PROMETHEUS_MULTIPROC_DIR was set before the process started.
"""

from __future__ import annotations

from prometheus_client import Gauge

from monitoring.calibration_eprocess import Direction
from monitoring.history import History
from monitoring.quality import Status
from monitoring.replay import MonitorState, calibration_key, coverage_by_week, exposure_name


def _gauge(name: str, says: str, *labels: str) -> Gauge:
    return Gauge(name, says, [*labels, "model_version"], multiprocess_mode="mostrecent")


drift_statistic = _gauge("lang1_drift_statistic", "Effect of a drift signal in its last weekly window", "signal")
drift_bound = _gauge("lang1_drift_bound", "Effect from which a drift signal counts", "signal")
drift_pvalue = _gauge("lang1_drift_pvalue", "p-value of a drift signal in its last weekly window", "signal")
drift_alarm = _gauge("lang1_drift_alarm", "1 for a drift signal that was flagged two windows running", "signal")
window_notes = _gauge("lang1_window_notes", "Notes in the last weekly window of a drift signal", "signal")
estimated_auroc = _gauge(
    "lang1_estimated_auroc", "Label-free estimate of AUROC: advisory, blind to changes in what outcomes mean", "task"
)
realized_auroc = _gauge(
    "lang1_realized_auroc", "AUROC of the last mature month, and its 95% interval", "task", "shown", "bound"
)
baseline_auroc = _gauge("lang1_baseline_auroc", "AUROC that realised quality is held against", "task")
quality_alarm = _gauge("lang1_quality_alarm", "1 when the interval lies under the baseline", "task", "shown")
ece = _gauge("lang1_ece", "Calibration error of the last mature month; bound `perfect_99th`: what chance allows",
             "task", "shown", "bound")  # fmt: skip
calibration_evalue = _gauge(
    "lang1_calibration_evalue", "log10 of the calibration test's e-value; the alarm is at 4", "task", "shown",
    "direction",
)  # fmt: skip
calibration_alarm = _gauge(
    "lang1_calibration_alarm", "1 once the calibration test has fired", "task", "shown", "direction"
)
label_coverage_ratio = _gauge(
    "lang1_label_coverage_ratio", "Share of final outcomes in the oldest week of predictions that is not mature", "task"
)
beds_expected = Gauge(
    "lang1_beds_expected", "The hospital at its next census: expected value, and the bounds of the 80% interval",
    ["signal", "bound"], multiprocess_mode="mostrecent",
)  # fmt: skip
last_success = Gauge(
    "lang1_monitor_last_success_timestamp_seconds", "When the monitor last came to an end, seconds since 1970",
    multiprocess_mode="mostrecent",
)  # fmt: skip

_SHOWN = {exposure_name(True): "yes", exposure_name(False): "no"}


def publish(state: MonitorState, history: History, now_s: float) -> None:
    """Set every gauge of a model version from its state at `now_s`."""
    version = state.model_version
    _publish_drift(state, version)
    for task, value in (state.weeks[-1].estimated_auroc if state.weeks else {}).items():
        estimated_auroc.labels(task, version).set(value)
    for task, baseline in state.baselines.items():
        baseline_auroc.labels(task, version).set(baseline)
    _publish_quality(state, version)
    for task in history.tasks:
        for exposure, shown in _SHOWN.items():
            for direction in Direction:
                stream = state.calibration.get(calibration_key(task, exposure, direction))
                if stream is not None:
                    calibration_evalue.labels(task, shown, direction, version).set(stream.state.log10_e)
                    calibration_alarm.labels(task, shown, direction, version).set(stream.state.alarmed)
    for task, each in history.tasks.items():
        waiting = [week for week in coverage_by_week(each, state.began_s, now_s) if week.status is not Status.PUBLISHED]
        if waiting:
            label_coverage_ratio.labels(task, version).set(waiting[0].coverage)


def _publish_drift(state: MonitorState, version: str) -> None:
    last = {reading.signal: reading for week in state.weeks for reading in week.readings}
    for signal, reading in last.items():
        drift_statistic.labels(signal, version).set(reading.effect)
        drift_bound.labels(signal, version).set(reading.min_effect)
        drift_pvalue.labels(signal, version).set(reading.p_value)
        drift_alarm.labels(signal, version).set(signal in state.drift.alarms)
        window_notes.labels(signal, version).set(reading.notes)


def _publish_quality(state: MonitorState, version: str) -> None:
    last = {(entry.task, entry.exposure): entry.quality for entry in state.quality}
    for (task, exposure), quality in last.items():
        shown = _SHOWN[exposure]
        quality_alarm.labels(task, shown, version).set(quality.alarm)
        if quality.auroc is not None:
            for bound, value in (
                ("value", quality.auroc.value), ("low", quality.auroc.low), ("high", quality.auroc.high)
            ):  # fmt: skip
                realized_auroc.labels(task, shown, bound, version).set(value)
        for bound, error in (("value", quality.ece), ("perfect_99th", quality.ece_perfect_99th)):
            if error is not None:
                ece.labels(task, shown, bound, version).set(error)
