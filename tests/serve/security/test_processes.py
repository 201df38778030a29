"""What every process of a running service was started with. What they listen on: tests/serve/auth/test_auth_http.py."""

from __future__ import annotations

from serve.ray_environment import REQUIRED
from tests.serve.security.process_tree import core_limit, environment, title, tree
from tests.serve.service import RunningService

REPLICA = "ray::ServeReplica"


def test_every_process_is_told_to_send_no_telemetry(service: RunningService) -> None:
    for word in ("RAY_USAGE_STATS_ENABLED", "RAY_USAGE_STATS_REPORT_URL", "HF_HUB_OFFLINE", "DO_NOT_TRACK"):
        assert word in REQUIRED
    told = [(title(pid), environment(pid)) for pid in tree(service.process.pid) if pid != service.process.pid]
    # Ray's other processes write their title over what /proc shows of their environment.
    whole = [(name, values) for name, values in told if not name.startswith("ray::") or name.startswith(REPLICA)]
    assert len(whole) >= 6
    for name, values in whole:
        assert {key: values.get(key) for key in REQUIRED} == REQUIRED, name


def test_no_process_dumps_its_memory_to_a_file(service: RunningService) -> None:
    # A crash would write the notes that are being scored to the disk.
    limits = {title(pid): core_limit(pid) for pid in tree(service.process.pid)}
    assert set(limits.values()) == {"0"}, limits


def test_rays_token_is_in_no_command_line(service: RunningService) -> None:
    tokens = [path.read_text().strip() for path in service.state_dir.glob("ray_auth_token*")]
    assert tokens
    for pid in tree(service.process.pid):
        assert not any(token in title(pid) for token in tokens)
