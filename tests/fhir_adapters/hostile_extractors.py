"""Extractors that misbehave, put in place of a real one by the tests of the sandbox."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path


def sleeps(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    time.sleep(60)
    return "woke"


def spins(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    while True:
        pass


def hoards(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    return str(len(b"x" * (1 << 40)))


def crashes(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    os.abort()


def complains(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    print(data.decode(), file=sys.stderr)
    raise ValueError(data.decode())


def floods(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    while True:
        os.write(1, b"x" * 65536)


def looks_around(data: bytes, charset: str | None, max_chars: int, max_pages: int) -> str:
    try:
        with Path("/tmp/lang1-sandbox-test").open("wb") as out:  # noqa: S108  # must fail
            out.write(b"x")
            out.flush()
        wrote = "wrote"
    except OSError:
        wrote = "no write"
    held = []
    try:
        while len(held) < 1000:
            held.append(socket.socket())
        files = "unlimited files"
    except OSError:
        files = "limited files"
    return f"{wrote}; {files}; environment {sorted(set(os.environ) - {'LC_CTYPE'})}; {Path.cwd()}"
