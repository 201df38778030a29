"""Errors with a code, so that every edge (HTTP, FHIR, command line) can answer from one table.

A message says what was wrong, what was got and the mend. It never carries note text or a patient identifier, so that it
may be logged.
"""

from __future__ import annotations

from typing import ClassVar


class Lang1Error(Exception):
    """Base of every error this project raises on purpose. `code` is a FHIR R4 IssueType code."""

    code: ClassVar[str] = "exception"


class NoteError(Lang1Error):
    """The note cannot be scored (empty, too short, a placeholder). Same filter in training and serving."""

    code = "business-rule"


class UnknownTaskError(Lang1Error):
    """A task name that is not in the registry."""

    code = "not-found"


class TaskDefinitionError(Lang1Error):
    """A task entry, built in or from a hospital's YAML file, contradicts itself."""

    code = "invalid"


class BundleError(Lang1Error):
    """A model bundle is incomplete, was changed after it was sealed, or was trained with other prompts."""

    code = "exception"


class ScoringError(Lang1Error):
    """The forward pass gave no usable result (NaN logits); nothing may be stored from it."""

    code = "exception"
