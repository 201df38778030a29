"""The tables. No note text anywhere; subject and encounter references are PHI and stay in here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_BIG_ID = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts up only an INTEGER key


class Base(DeclarativeBase):
    """Metadata of the whole schema; the migrations must agree with it (a test compares them)."""


class Prediction(Base):
    """One task's score of one note. `id` is deterministic, so the primary key is the idempotency key."""

    __tablename__ = "predictions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    note_key: Mapped[str] = mapped_column(String(36), index=True)
    """Same for all tasks and models of one document from one source."""
    source: Mapped[str] = mapped_column(String(64))
    document: Mapped[str | None] = mapped_column(String(1024))
    """The scored document's own reference, by which an amended one names it."""
    text_sha256: Mapped[str] = mapped_column(String(64))
    task: Mapped[str] = mapped_column(String(64))
    task_version: Mapped[int] = mapped_column(Integer)
    model_version: Mapped[str] = mapped_column(String(64))
    bundle_sha256: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(1024))
    encounter: Mapped[str | None] = mapped_column(String(1024))
    identifier: Mapped[str | None] = mapped_column(String(64), index=True)
    """Value of the RiskAssessment's deterministic identifier."""
    last_updated_ms: Mapped[int] = mapped_column(BigInteger)
    """Milliseconds since 1970 UTC: what meta.lastUpdated shows, no finer, so that a search finds what it was shown."""
    superseded: Mapped[bool] = mapped_column(Boolean)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (
        Index("ix_predictions_order", "last_updated_ms", "id"),
        Index("ix_predictions_subject", "subject", "last_updated_ms"),
        Index("ix_predictions_encounter", "encounter", "last_updated_ms"),
        Index("ix_predictions_document", "source", "document"),
    )


class Outbox(Base):
    """A score to be written back to the EHR; made in the score's own transaction when a sink is configured."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True, autoincrement=True)
    prediction_id: Mapped[str] = mapped_column(ForeignKey("predictions.id"), unique=True)
    sink: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    attempts: Mapped[int] = mapped_column(Integer)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    next_attempt_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_outbox_due", "status", "next_attempt_ms"),)


class Outcome(Base):
    """What came of a note: a label for monitoring and retraining."""

    __tablename__ = "outcomes"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    task: Mapped[str] = mapped_column(String(64))
    subject: Mapped[str | None] = mapped_column(String(1024))
    encounter: Mapped[str | None] = mapped_column(String(1024), index=True)
    option: Mapped[int] = mapped_column(Integer)
    """Index of the option that came true."""
    occurred_ms: Mapped[int | None] = mapped_column(BigInteger)
    recorded_ms: Mapped[int] = mapped_column(BigInteger)


class CardFeedback(Base):
    """What a person did with a card that showed a score. No free text: it may hold anything."""

    __tablename__ = "card_feedback"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    prediction_id: Mapped[str] = mapped_column(ForeignKey("predictions.id"), index=True)
    service: Mapped[str] = mapped_column(String(64))
    outcome: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str | None] = mapped_column(String(32))
    occurred_ms: Mapped[int] = mapped_column(BigInteger)
    recorded_ms: Mapped[int] = mapped_column(BigInteger)
    source: Mapped[str] = mapped_column(String(64))


class Audit(Base):
    """Who read or made which predictions, and when. Holds ids only."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True, autoincrement=True)
    recorded_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    action: Mapped[str] = mapped_column(String(16))
    source: Mapped[str] = mapped_column(String(64))
    request_id: Mapped[str] = mapped_column(String(64))
    prediction_ids: Mapped[list[str]] = mapped_column(JSON)
