"""Do one thing to a copy of a registry, once for every file operation in it, and die right before that operation.

Run as a program with a scratch folder: it forks for each death, for which a process full of threads would not do.
Prints one JSON object a line: what was done, the operation before which it died, and the copy's folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lang1.registry import Registry, rollout

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod", "os.symlink"}
WHO: dict[str, Any] = {"actor": "ana", "reason": "crash"}

Deed = Callable[[Path, Path, Path], None]


def _add_and_set(folder: Path, one: Path, two: Path) -> None:
    registry = Registry.open(folder)
    registry.set_champion(registry.add(two, **WHO), **WHO)


def _promote(folder: Path, one: Path, two: Path) -> None:
    rollout.promote(Registry.open(folder), **WHO)


def _roll_back(folder: Path, one: Path, two: Path) -> None:
    rollout.rollback(Registry.open(folder), **WHO)


def _record_gate(folder: Path, one: Path, two: Path) -> None:
    registry = Registry.open(folder)
    report: dict[str, Any] = {"verdict": "pass", "reasons": [], "champion": registry.channels().champion}
    registry.record_gate(registry.listed()[0].sha256, report, actor="gate")


def _create(folder: Path, one: Path, two: Path) -> None:
    Registry.create(folder)


def _prepare_nothing(folder: Path, one: Path, two: Path) -> None:
    folder.mkdir(mode=0o700)


def _prepare(folder: Path, one: Path, two: Path) -> None:
    registry = Registry.create(folder)
    registry.set_champion(registry.add(one, **WHO), **WHO)


def _prepare_canary(folder: Path, one: Path, two: Path) -> None:
    _prepare(folder, one, two)
    registry = Registry.open(folder)
    challenger = registry.add(two, **WHO)
    rollout.start_shadow(registry, challenger, **WHO, force=True)
    rollout.approve(registry, challenger, **WHO)
    rollout.start_canary(registry, **WHO)
    for _ in range(3):
        rollout.advance(registry, **WHO)


DEEDS: dict[str, tuple[Deed, Deed]] = {
    "create": (_prepare_nothing, _create),
    "champion": (_prepare, _add_and_set),
    "gate": (_prepare, _record_gate),
    "promote": (_prepare_canary, _promote),
    "rollback": (_prepare_canary, _roll_back),
}


def _die_at(number: int, scratch: Path, torn: bool) -> None:
    """Die right before the file operation with this number; `torn` dies in the middle of the first write after it."""
    seen = 0
    report = scratch / "died"

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        # To die before a reading is to die after the writing before it.
        if event == "open" and not arguments[2] & WRITES:
            return
        if event in OPERATIONS and any(str(scratch / "copy") in str(each) for each in arguments[:2]):
            seen += 1
            if seen == number and not torn:
                os.write(reporting, f"{event} {Path(str(arguments[0])).name}".encode())
                os._exit(9)

    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if seen >= number and descriptor != reporting:
            real(reporting, b"write")
            real(descriptor, data[: len(data) // 2])
            os._exit(9)
        return real(descriptor, data)

    reporting = os.open(report, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    if torn:
        os.write = half  # type: ignore[assignment]
    sys.addaudithook(count)


def main(scratch: Path, one: Path, two: Path) -> None:
    for name, (prepare, deed) in DEEDS.items():
        master = scratch / name
        prepare(master, one, two)
        number, torn = 0, False
        while True:
            number += 1
            case = scratch / f"{name}-{number}{'-torn' if torn else ''}"
            case.mkdir()
            shutil.copytree(master, case / "copy", copy_function=shutil.copy2)
            child = os.fork()
            if not child:
                _die_at(number, case, torn)
                deed(case / "copy", one, two)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            code = os.waitstatus_to_exitcode(status)
            if code == 0 and not torn:
                torn, number = True, 0
                shutil.rmtree(case)
                continue
            if code != 9:
                break
            died = (case / "died").read_text()
            print(json.dumps({"deed": name, "before": died, "folder": str(case / "copy")}), flush=True)


if __name__ == "__main__":
    os.fsync = lambda fd: None
    main(*(Path(each) for each in sys.argv[1:4]))
