"""Tables of facts: what the EHR said of stays, diagnoses and claims. References and subjects are PHI and stay in here.

A fact's `id` is deterministic (`serve.outcomes.keys`), from the sending system and the resource's reference. Times are
milliseconds since 1970 UTC. Of two versions the newer by (updated_ms, version) stands, in whatever order they come;
what was taken back stays as a row with `removed`, so that an older version cannot bring it back.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Index, SmallInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from serve.store.tables import Base


class _Fact:
    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    reference: Mapped[str] = mapped_column(String(1024))
    subject: Mapped[str | None] = mapped_column(String(1024))
    """The patient, as the sender names them."""
    removed: Mapped[bool] = mapped_column(Boolean)
    """Entered in error, refuted or deleted."""
    updated_ms: Mapped[int] = mapped_column(BigInteger)
    """meta.lastUpdated, or when it came where the sender gives none."""
    version: Mapped[int] = mapped_column(BigInteger)
    received_ms: Mapped[int] = mapped_column(BigInteger)


class EncounterRow(_Fact, Base):
    """A stay, a visit or a booking."""

    __tablename__ = "encounters"

    status: Mapped[str] = mapped_column(String(16))
    inpatient: Mapped[bool] = mapped_column(Boolean)
    booked: Mapped[bool] = mapped_column(Boolean)
    left_out: Mapped[bool] = mapped_column(Boolean)
    planned: Mapped[bool] = mapped_column(Boolean)
    transferred_in: Mapped[bool] = mapped_column(Boolean)
    newborn: Mapped[bool] = mapped_column(Boolean)
    died: Mapped[int] = mapped_column(SmallInteger)
    """1, 0, or -1 for no disposition that is understood."""
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    ended_ms: Mapped[int | None] = mapped_column(BigInteger)
    planned_end_ms: Mapped[int | None] = mapped_column(BigInteger)
    unit: Mapped[str | None] = mapped_column(String(80))
    units: Mapped[list[Any]] = mapped_column(JSON)
    """[unit, from_ms, until_ms], in order, as the newest version has them."""
    sightings: Mapped[list[Any]] = mapped_column(JSON)
    """[updated_ms, version, status, unit, planned_end_ms] of every version that changed one of the last three."""

    __table_args__ = (
        Index("ix_encounters_subject", "source", "subject"),
        Index("ix_encounters_started", "source", "started_ms"),
        Index("ix_encounters_ended", "source", "ended_ms"),
        Index("ix_encounters_status", "status", "ended_ms"),
        Index("ix_encounters_received", "source", "received_ms"),
    )


class DiagnosisRow(_Fact, Base):
    """The ICD codes of a Condition."""

    __tablename__ = "diagnoses"

    codes: Mapped[list[Any]] = mapped_column(JSON)
    """[code, ICD version]."""


class ClaimRow(_Fact, Base):
    """A claim, or a payer's answers to one: a state for each `created`, all of them kept."""

    __tablename__ = "claims"

    type: Mapped[str] = mapped_column(String(32))
    """Claim, ClaimResponse or ExplanationOfBenefit."""
    counts: Mapped[bool] = mapped_column(Boolean)
    """False: cancelled, or of a use that is no claim."""
    states: Mapped[list[Any]] = mapped_column(JSON)
    """[decided_ms, updated_ms, version, status or null]."""
    removed_updated_ms: Mapped[int] = mapped_column(BigInteger)
    removed_version: Mapped[int] = mapped_column(BigInteger)
    """States up to this version were taken back."""
    decided_ms: Mapped[int | None] = mapped_column(BigInteger)
    """The newest."""

    __table_args__ = (Index("ix_claims_decided", "source", "decided_ms"),)


class FactLink(Base):
    """A name that a fact goes by, or that it mentions. Facts meet where a mention is a name, whichever came first."""

    __tablename__ = "fact_links"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    owner: Mapped[str] = mapped_column(String(36), index=True)
    """Id of the fact."""
    role: Mapped[str] = mapped_column(String(16))
    """`serve.outcomes.keys.Role`."""
    name: Mapped[str] = mapped_column(String(1024))
    source: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(1024))
    """The fact's, so that it is deleted with it."""
    received_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_fact_links_name", "source", "name", "role"),)
