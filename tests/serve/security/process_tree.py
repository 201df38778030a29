"""What the kernel says of a service's processes: environment, limits, open files."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path


def tree(root: int) -> list[int]:
    """The process and all that descend from it."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            stat = (entry / "stat").read_text()
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()


def environment(pid: int) -> dict[str, str]:
    """The environment that the process was started with."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(entry.split("=", 1) for entry in entries if "=" in entry)


def core_limit(pid: int) -> str:
    """Bytes that a core dump of the process may have, `unlimited` among them."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    return re.search(r"Max core file size\s+(\S+)", limits)[1]  # type: ignore[index]


def open_files(pids: list[int]) -> list[Path]:
    """The files that these processes hold open for writing, deleted ones by way of their descriptor."""
    found = []
    for pid in pids:
        with suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    target = descriptor.readlink()
                    flags = int(re.search(r"flags:\s*(\d+)", _info(pid, descriptor.name))[1], 8)  # type: ignore[index]
                    if flags & (os.O_WRONLY | os.O_RDWR) and target.is_absolute() and not _is_device(target):
                        found.append(target if target.exists() else descriptor)
    return found


def _info(pid: int, descriptor: str) -> str:
    return Path(f"/proc/{pid}/fdinfo/{descriptor}").read_text()


def _is_device(path: Path) -> bool:
    # Shared memory is memory: the object store lies there.
    return path.parts[1:2] in (("dev",), ("proc",), ("sys",))
