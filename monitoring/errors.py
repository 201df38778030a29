"""What the monitor refuses. Messages name file, column and row, never a value: it may be a patient's."""

from __future__ import annotations

from typing import ClassVar

from lang1.errors import Lang1Error


class MonitorInputError(Lang1Error):
    """Recorded predictions, outcomes, a reference profile or a saved state that cannot be used."""

    code: ClassVar[str] = "invalid"
