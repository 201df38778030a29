"""A job's own first process: the lowest priority, a limit on memory, and a file with how the command ended.

python -m serve.retraining.child FOLDER LOCK_FD MEMORY_BYTES COMMAND...

It leaves its parent (a replica that is replaced must not take the job with it) and keeps the lock that was handed
to it open, as the command does: while either lives, the job runs. Only the standard library, for it outlives much.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

EXIT_FILE: Final = "exit_code"
GROUP_FILE: Final = "process_group"
OUTPUT_FILE: Final = "output.log"
CANNOT_START: Final = 127
_IOPRIO_SET: Final = {"x86_64": 251, "aarch64": 30}
_IDLE_IO: Final = 3 << 13


def main(arguments: list[str]) -> int:
    folder, lock, memory_bytes, words = Path(arguments[0]), int(arguments[1]), int(arguments[2]), arguments[3:]
    if os.fork():
        os._exit(0)
    os.setsid()
    write_whole(folder / GROUP_FILE, str(os.getpid()))
    _be_last(memory_bytes)
    with (folder / OUTPUT_FILE).open("ab") as output:
        try:
            child = subprocess.Popen(  # noqa: S603 - the operator's own command, by a setting
                words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=(lock,), cwd=folder
            )
        except OSError as error:
            output.write(f"the command cannot be started: {type(error).__name__}\n".encode())
            write_whole(folder / EXIT_FILE, str(CANNOT_START))
            return 0
    # A signal to the group is the command's to answer.
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    write_whole(folder / EXIT_FILE, str(child.wait()))
    return 0


def _be_last(memory_bytes: int) -> None:
    """Scoring must not feel the job: it computes when nobody else does, and is killed first when memory is short."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with suppress(OSError, AttributeError):
        number = _IOPRIO_SET.get(os.uname().machine)
        if number is not None:
            ctypes.CDLL(None).syscall(number, 1, 0, _IDLE_IO)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # Not RLIMIT_AS: torch and CUDA map far more than they use. RLIMIT_DATA counts what is private and writable.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def write_whole(path: Path, text: str) -> None:
    """A file that is there whole or not at all."""
    new = path.with_suffix(".new")
    new.write_text(text, encoding="ascii")
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
