"""What can be wrong with a registry, or with what is asked of it."""

from __future__ import annotations

from lang1.errors import Lang1Error


class RegistryError(Lang1Error):
    """The registry cannot be used, or a bundle is not fit for it."""

    code = "exception"


class NotRegisteredError(RegistryError):
    """No bundle with this hash was added."""

    code = "not-found"


class WordsError(RegistryError):
    """An actor, a reason or evidence that the log does not take."""

    code = "invalid"


class RolloutRefusedError(RegistryError):
    """The state of the rollout does not allow this move; nothing changed, and the log says that it was asked for."""

    code = "business-rule"
