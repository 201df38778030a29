"""The service's own log lines: ids, lengths, codes and durations; never a note's text, a reference, a URL's query or a
header.
"""

from __future__ import annotations

import logging


def get_logger() -> logging.Logger:
    """The logger that Ray Serve writes to the replica's own file. Log error class names; messages quote values."""
    return logging.getLogger("ray.serve")
