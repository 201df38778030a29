"""Deterministic ids of facts, links and outcomes, and the roles of names."""

from __future__ import annotations

import json
import uuid
from enum import StrEnum

# Any fixed UUID does; changing it would make every fact a second one.
_NAMESPACE = uuid.UUID("0d3c2e0a-55d5-5c7e-a4d2-3e0f6b7c9a41")


class Role(StrEnum):
    """What a name is to its owner: its own, or one that it mentions."""

    ENCOUNTER = "encounter"
    """Own name of an encounter."""
    DIAGNOSIS = "diagnosis"
    """Own name of a diagnosis."""
    CLAIM = "claim"
    """Own name of a claim or of an answer to one."""
    IN_ENCOUNTER = "in-encounter"
    """A diagnosis or claim names its encounter."""
    LISTS = "lists"
    """An encounter lists a diagnosis."""
    ANSWERS = "answers"
    """An answer names its claim."""
    CONTINUES = "continues"
    """A claim names the one that it resubmits or appeals."""


def fact_id(source: str, reference: str) -> str:
    """Id of a fact: of what a sending system calls by this reference."""
    return _id("fact", source, reference)


def link_id(owner: str, role: Role, name: str) -> str:
    """Id of a link."""
    return _id("link", owner, role, name)


def outcome_id(source: str, encounter: str, task: str) -> str:
    """Id of the outcome of an encounter for a task."""
    return _id("outcome", source, encounter, task)


def _id(*parts: str) -> str:
    # JSON, not joined strings: no two different keys can be written the same.
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
