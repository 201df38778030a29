"""Jobs as processes of this machine, for a service without Ray's dashboard.

`lang1 serve` leaves the dashboard out, and with it Ray's job API: it is three more processes and a port. A Ray task
would live in a worker that Ray's memory monitor may kill in the place of a scorer, and would end with the replica that
owns it. So a job is a process of its own session, lowest in priority, with a memory limit; a file lock that its
processes hold says that it lives, and a file says how it ended. A replica that is replaced finds it again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from serve.retraining.child import EXIT_FILE, GROUP_FILE, write_whole
from serve.retraining.jobs import JobsAwayError, JobState, JobView, command, local_command
from serve.retraining.requests import Request
from serve.retraining.settings import RetrainingSettings
from serve.settings import process_environment

LOCK_FILE: Final = "lock"
HOLDER_FILE: Final = "holder"
LET_GO_FILE: Final = "let_go"
KEPT_FOLDERS: Final = 20
_END_S: Final = 10.0
_START_S: Final = 30.0
_ROOT: Final = Path(__file__).resolve().parents[2]
# Of the service's own Ray, metrics and thread counts: a job that read them would meddle, or compute on one core.
_NOT_OF_THE_JOB: Final = ("RAY_", "PROMETHEUS_MULTIPROC_DIR", "SERVE_", "OMP_NUM_THREADS")


class LocalJobs:
    """`folder` holds one folder a try, mode 0700: its output, and how it ended."""

    def __init__(self, settings: RetrainingSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder

    @property
    def holder(self) -> str:
        """Of the folder, kept in it: the jobs in it are those of whichever service uses it."""
        path = self._folder / HOLDER_FILE
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not path.exists():
                write_whole(path, str(uuid.uuid4()))
            return path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise JobsAwayError(type(error).__name__) from None

    def begin(self, name: str, request: Request) -> None:
        """Start a try in a folder of its own, unless that is there. Raises JobsAwayError."""
        folder = self._folder / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise JobsAwayError(type(error).__name__) from None
        try:
            if (folder / EXIT_FILE).exists() or (folder / GROUP_FILE).exists() or not _take(lock):
                return
            # Taken here and handed on: the job lives from this moment on, whoever dies.
            words = local_command(command(self._settings, request))
            self._spawn(folder, lock, words)
        except (OSError, subprocess.SubprocessError) as error:
            raise JobsAwayError(type(error).__name__) from None
        finally:
            os.close(lock)
        self._forget_old()

    def _spawn(self, folder: Path, lock: int, words: list[str]) -> None:
        memory = self._settings.retraining_memory_gib
        memory_bytes = _machine_bytes() // 2 if memory is None else round(memory * 2**30)
        first = [sys.executable, "-m", "serve.retraining.child", str(folder.absolute()), str(lock), str(memory_bytes)]
        subprocess.run(  # noqa: S603 - our own module
            [*first, *words], check=True, timeout=_START_S, pass_fds=(lock,), cwd=_ROOT, env=_job_environment(),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def look(self, name: str) -> JobView:
        """Where a try stands. Raises JobsAwayError."""
        folder = self._folder / name
        try:
            if (code := _exit_code(folder)) is not None:
                return _ended(folder, code)
            if not (folder / LOCK_FILE).exists():
                return JobView(JobState.ABSENT)
            if _is_held(folder / LOCK_FILE):
                return JobView(JobState.RUNNING)
            # Read again: it may have ended between the two looks.
            code = _exit_code(folder)
        except OSError as error:
            raise JobsAwayError(type(error).__name__) from None
        if code is not None or (folder / GROUP_FILE).exists():
            return _ended(folder, code)
        return JobView(JobState.ABSENT)

    def let_go(self, name: str) -> None:
        """End it with a word that it was not its fault. Raises JobsAwayError."""
        if self.look(name).state is JobState.RUNNING:
            try:
                write_whole(self._folder / name / LET_GO_FILE, "")
            except OSError as error:
                raise JobsAwayError(type(error).__name__) from None
            self.end(name)

    def end(self, name: str) -> None:
        """SIGTERM to all of its processes, and SIGKILL to those that stay."""
        folder = self._folder / name
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                if not (folder / LOCK_FILE).exists() or not _is_held(folder / LOCK_FILE):
                    return
                # The lock is held, so the number is still that of the job.
                os.killpg(int((folder / GROUP_FILE).read_text(encoding="ascii")), number)
            except (OSError, ValueError) as error:
                if isinstance(error, ProcessLookupError):
                    return
                raise JobsAwayError(type(error).__name__) from None
            until = time.monotonic() + _END_S
            while _is_held(folder / LOCK_FILE) and time.monotonic() < until:
                time.sleep(0.05)

    def _forget_old(self) -> None:
        found = [each for each in self._folder.iterdir() if each.is_dir()]
        folders = sorted(found, key=lambda each: each.stat().st_mtime, reverse=True)
        for old in folders[KEPT_FOLDERS:]:
            if not (old / LOCK_FILE).exists() or not _is_held(old / LOCK_FILE):
                shutil.rmtree(old, ignore_errors=True)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    lock = os.open(path, os.O_RDWR)
    try:
        return not _take(lock)
    finally:
        os.close(lock)


def _ended(folder: Path, code: int | None) -> JobView:
    # It may have come to its end by itself in the last moment.
    if (folder / LET_GO_FILE).exists() and (code is None or code < 0):
        return JobView(JobState.LET_GO)
    return JobView(JobState.KILLED) if code is None else JobView(JobState.ENDED, code)


def _exit_code(folder: Path) -> int | None:
    try:
        return int((folder / EXIT_FILE).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except ValueError:
        return None


def _job_environment() -> Mapping[str, str]:
    kept = {name: value for name, value in process_environment().items() if not name.startswith(_NOT_OF_THE_JOB)}
    return kept | {"NO_COLOR": "1", "TERM": "dumb"}


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
