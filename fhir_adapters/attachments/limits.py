"""What an attachment may cost before it is refused."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AttachmentLimits:
    """Bytes are of the decoded attachment, characters of the text taken from it."""

    max_bytes: int = 10_000_000
    max_text_chars: int = 1_000_000
    max_pages: int = 500
    """Pages of a PDF."""
    parse_timeout_s: float = 10.0
    """Wall clock of one parse, and the CPU seconds that its process may use."""
    max_memory_bytes: int = 512 * 1024 * 1024
    """Address space of the parsing process."""
