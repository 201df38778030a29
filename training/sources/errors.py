"""Errors of reading a record. They name file, column and record number, never a value: any of them may identify."""

from __future__ import annotations

from lang1.errors import Lang1Error


class MappingError(Lang1Error):
    """The mapping file is wrong, or names a file or column that is not there."""

    code = "invalid"


class SourceError(Lang1Error):
    """The record's files cannot be used as they are."""

    code = "value"
