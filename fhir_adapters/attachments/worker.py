"""The parsing process: one attachment on stdin, one JSON answer on stdout, then the end. Started by `sandbox`.

stdin: a line of JSON (target, charset, max_chars, max_pages, cpu_s, memory_bytes), then the attachment's bytes.
stdout: {"text": ...} or {"error": {"code", "message"}}. A traceback is never written: it could hold the note.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
from typing import Any

from fhir_adapters.attachments.extraction import ExtractionError

OPEN_FILES = 32


def main() -> None:
    """Read, limit this process, parse, answer."""
    header = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    try:
        _limit(header)
        answer: dict[str, Any] = {"text": _extract(header, data)}
    except ExtractionError as error:
        answer = {"error": {"code": error.code, "message": error.message}}
    except (MemoryError, RecursionError):
        answer = {
            "error": {"code": "too-costly", "message": "the attachment needs more memory than a note may; send text"}
        }
    except Exception:
        answer = {
            "error": {"code": "value", "message": "the attachment cannot be read as its contentType; send it intact"}
        }
    sys.stdout.buffer.write(json.dumps(answer).encode())
    sys.stdout.buffer.flush()


def _extract(header: dict[str, Any], data: bytes) -> str:
    module_name, _, function_name = header["target"].partition(":")
    extract = getattr(importlib.import_module(module_name), function_name)
    return str(extract(data, header["charset"], header["max_chars"], header["max_pages"]))


def _limit(header: dict[str, Any]) -> None:
    for limit, value in (
        (resource.RLIMIT_AS, header["memory_bytes"]),
        (resource.RLIMIT_CPU, header["cpu_s"]),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        wanted = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (wanted, wanted))
