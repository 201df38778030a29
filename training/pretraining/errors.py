"""Errors of pretraining."""

from __future__ import annotations

from lang1.errors import Lang1Error


class PretrainError(Lang1Error):
    """Tokens, a checkpoint or a run cannot be used; the message says which and the mend."""

    code = "exception"
