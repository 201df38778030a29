"""The monitor of a running service tells when it last came to an end."""

from __future__ import annotations

import time

from tests.ehr.server import wait_for
from tests.serve.service import RunningService

RUN = "lang1_monitor_last_success_timestamp_seconds"


def test_the_monitor_runs_by_itself_and_tells(service: RunningService) -> None:
    wait_for(lambda: service.metric(RUN) > 0, 60)
    assert abs(service.metric(RUN) - time.time()) < 3600


def test_the_next_census_is_a_gauge(service: RunningService) -> None:
    wait_for(lambda: service.metric(RUN) > 0, 60)
    low, expected, high = (
        service.metric("lang1_beds_expected", signal="occupancy", bound=bound) for bound in ("low", "expected", "high")
    )
    assert 0 <= low <= expected <= high
