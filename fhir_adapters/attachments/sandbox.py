"""Running an extractor in a process that can be killed, with memory, CPU, files and time limited.

Parsers of HTML, XML, RTF and PDF have hung, leaked and expanded before; a note must not take the service with it.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from functools import lru_cache
from pathlib import Path
from typing import IO, Any, Final

import fhir_adapters
from fhir_adapters.attachments.extraction import ExtractionError
from fhir_adapters.attachments.limits import AttachmentLimits
from fhir_adapters.attachments.media_types import Kind

TARGETS: Final[dict[Kind, str]] = {
    Kind.PLAIN: "fhir_adapters.attachments.extractors:plain_text",
    Kind.HTML: "fhir_adapters.attachments.extractors:html_text",
    Kind.CDA: "fhir_adapters.attachments.extractors:cda_text",
    Kind.RTF: "fhir_adapters.attachments.extractors:rtf_text",
    Kind.PDF: "fhir_adapters.attachments.extractors:pdf_text",
}
"""`module:function` of each kind's extractor, imported in the parsing process only."""

# -I ignores the environment and the working folder, -S skips site: so the import path is handed over as an argument.
_BOOT: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from fhir_adapters.attachments.worker import main; main()"
)


def extract_isolated(kind: Kind, data: bytes, charset: str | None, limits: AttachmentLimits) -> str:
    """The text of an attachment, parsed in a process of its own (0.1 to 0.4 s, most of it the start).

    Raises ExtractionError: the extractor's own, or too-costly when time, CPU or memory ran out and it was stopped.
    """
    header = {
        "target": TARGETS[kind],
        "charset": charset,
        "max_chars": limits.max_text_chars,
        "max_pages": limits.max_pages,
        "cpu_s": math.ceil(limits.parse_timeout_s),
        "memory_bytes": limits.max_memory_bytes,
    }
    # JSON escapes a character to 12 bytes at most (a surrogate pair); what is beyond that is not the worker's answer.
    answer = _run(json.dumps(header).encode() + b"\n" + data, limits.parse_timeout_s, 12 * limits.max_text_chars + 4096)
    try:
        reply: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise ExtractionError(
            "too-costly",
            f"parsing the attachment ran over its limits ({limits.parse_timeout_s:g} s, "
            f"{limits.max_memory_bytes >> 20} MiB) and was stopped; send the note as text/plain",
        ) from None
    if "error" in reply:
        raise ExtractionError(reply["error"]["code"], reply["error"]["message"])
    return str(reply["text"])


def _run(payload: bytes, timeout_s: float, max_answer_bytes: int) -> bytes:
    process = subprocess.Popen(  # noqa: S603  # fixed arguments; the attachment goes through stdin
        [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT, _import_path()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
        start_new_session=True,
    )
    assert process.stdin is not None and process.stdout is not None  # by construction
    killer = threading.Timer(timeout_s, process.kill)
    killer.start()
    feeder = threading.Thread(target=_feed, args=(process.stdin, payload), daemon=True)
    feeder.start()
    try:
        return process.stdout.read(max_answer_bytes)
    finally:
        process.kill()
        process.wait()
        killer.cancel()
        feeder.join()
        process.stdout.close()


def _feed(pipe: IO[bytes], payload: bytes) -> None:
    # A worker that dies before reading all is judged by its (absent) answer, not by the broken pipe.
    try:
        pipe.write(payload)
    except OSError:
        pass
    finally:
        _close_quietly(pipe)


def _close_quietly(pipe: IO[bytes]) -> None:
    try:
        pipe.close()
    except OSError:
        return


@lru_cache(maxsize=1)
def _import_path() -> str:
    # The package's own folder first: an editable install may find it by a hook that -S does not load.
    own = str(Path(fhir_adapters.__file__).resolve().parent.parent)
    return json.dumps([own, *(entry for entry in sys.path if entry and Path(entry).is_absolute() and entry != own)])
