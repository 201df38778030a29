"""What stops `lang1 serve` before it starts anything."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serve import run
from serve.errors import SettingsError
from serve.settings import load_settings


def test_a_port_that_somebody_listens_on_is_refused(
    tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "PORT_WAIT_S", 0.2)
    with socket.socket() as other:
        # As Ray's proxy listens: another one could join in.
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"port: {port} on 127\.0\.0\.1 is taken"):
            run.run_service(load_settings(None, bundle=bundle, state_dir=tmp_path, port=port), block=False)


def test_a_port_that_becomes_free_is_waited_for() -> None:
    other = socket.create_server(("127.0.0.1", 0))
    port = other.getsockname()[1]
    threading.Timer(0.3, other.close).start()
    run._wait_for_port("127.0.0.1", port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"host: cannot listen on 192\.0\.2\.1"):
        run._wait_for_port("192.0.2.1", 8000)


def test_ray_is_not_imported_before_its_environment_is_set() -> None:
    """It reads at its import which addresses to listen on, and whether to ask for a token."""
    code = "import sys, serve.run, serve.settings; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
