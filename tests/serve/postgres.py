"""A real PostgreSQL of the machine's own binaries: temporary folder, random port on loopback, stopped at the end."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.serve.service import free_port

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]))


def missing() -> str | None:
    """Why PostgreSQL cannot be started here, or None."""
    if not _BINARIES:
        return "no /usr/lib/postgresql/*/bin; install postgresql"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "running as root and there is no user postgres to run the server as"
    return None


@contextmanager
def running_postgres() -> Iterator[str]:
    """SQLAlchemy URL of an empty database."""
    binaries = _BINARIES[-1].parent
    # initdb and the server refuse to run as root.
    user: dict[str, str] = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with tempfile.TemporaryDirectory(prefix="lang1-pg-") as scratch:
        data, port = Path(scratch) / "data", free_port()
        if user:
            os.chown(scratch, pwd.getpwnam("postgres").pw_uid, -1)

        def run(*command: str) -> None:
            subprocess.run(
                [binaries / command[0], *command[1:]], check=True, capture_output=True, cwd=scratch,
                env={"LC_ALL": "C", "PATH": os.environ["PATH"]}, extra_groups=[] if user else None, **user,
            )  # fmt: skip

        run("initdb", "-D", str(data), "-A", "trust", "-U", "lang1", "--no-sync", "-E", "UTF8")
        options = f"-p {port} -k {scratch} -c listen_addresses=127.0.0.1 -c fsync=off"
        run("pg_ctl", "-D", str(data), "-o", options, "-l", f"{scratch}/log", "-w", "start")
        try:
            yield f"postgresql+psycopg://lang1@127.0.0.1:{port}/postgres"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
