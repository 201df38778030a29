"""The tables. No note text anywhere; subject and encounter references are PHI and stay in here."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Float, ForeignKey, Index, Integer, String, UniqueConstraint, false
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
    """A later version of the document was scored."""
    retracted: Mapped[bool] = mapped_column(Boolean, server_default=false())
    """The document was entered in error."""
    revision: Mapped[int] = mapped_column(Integer, server_default="1")
    """Version of the RiskAssessment: 1, and one more for each change of standing."""
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (
        Index("ix_predictions_order", "last_updated_ms", "id"),
        Index("ix_predictions_subject", "subject", "last_updated_ms"),
        Index("ix_predictions_encounter", "encounter", "last_updated_ms"),
        Index("ix_predictions_document", "source", "document"),
        Index("ix_predictions_task", "task", "last_updated_ms"),
    )


class DocumentFate(Base):
    """A document that was replaced or entered in error, kept because the document itself may arrive later."""

    __tablename__ = "document_fates"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(String(1024))
    subject: Mapped[str | None] = mapped_column(String(1024))
    fate: Mapped[str] = mapped_column(String(16))
    """`superseded` or `retracted`."""
    note_key: Mapped[str | None] = mapped_column(String(36))
    """Of the note that replaced it."""
    recorded_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_document_fates_document", "source", "document"),)


class DocumentVersion(Base):
    """The newest version of a document that was scored, so that a late older one does not take its place."""

    __tablename__ = "document_versions"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    source: Mapped[str] = mapped_column(String(64))
    document: Mapped[str] = mapped_column(String(1024))
    subject: Mapped[str | None] = mapped_column(String(1024))
    note_key: Mapped[str] = mapped_column(String(36))
    """Of the note whose scores stand."""
    updated_ms: Mapped[int | None] = mapped_column(BigInteger)
    """`meta.lastUpdated`, milliseconds since 1970 UTC."""
    number: Mapped[int | None] = mapped_column(BigInteger)
    """`meta.versionId`, where it is a number."""
    recorded_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_document_versions_document", "source", "document"),)


class Outbox(Base):
    """A version of a score to be written back; made in the score's own transaction when a sink is configured.

    Version 1 is the score; a later one its change of standing (superseded, retracted).
    """

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True, autoincrement=True)
    prediction_id: Mapped[str] = mapped_column(ForeignKey("predictions.id"))
    version: Mapped[int] = mapped_column(Integer)
    sink: Mapped[str] = mapped_column(String(32))
    status: Mapped[str] = mapped_column(String(16))
    """`pending`, `done` or `dead`."""
    attempts: Mapped[int] = mapped_column(Integer)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    next_attempt_ms: Mapped[int] = mapped_column(BigInteger)
    lease: Mapped[str | None] = mapped_column(String(36))
    """Of the writer that has it until `lease_until_ms`."""
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    reference: Mapped[str | None] = mapped_column(String(1024))
    """What the EHR calls the resource."""
    last_error: Mapped[str | None] = mapped_column(String(64))
    done_ms: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("prediction_id", "version", name="uq_outbox_prediction_version"),
        Index("ix_outbox_due", "status", "next_attempt_ms"),
    )


class Intake(Base):
    """A resource of the EHR that is still to be taken in; made before the event that named it is answered."""

    __tablename__ = "intake"

    id: Mapped[int] = mapped_column(_BIG_ID, primary_key=True, autoincrement=True)
    source: Mapped[str] = mapped_column(String(64))
    reference: Mapped[str] = mapped_column(String(1024))
    event: Mapped[str] = mapped_column(String(128))
    """What made it known; the same event again is no second row."""
    status: Mapped[str] = mapped_column(String(16))
    """`pending`, `done` or `dead`."""
    attempts: Mapped[int] = mapped_column(Integer)
    created_ms: Mapped[int] = mapped_column(BigInteger)
    next_attempt_ms: Mapped[int] = mapped_column(BigInteger)
    lease: Mapped[str | None] = mapped_column(String(36))
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
    last_error: Mapped[str | None] = mapped_column(String(64))
    done_ms: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        UniqueConstraint("source", "reference", "event", name="uq_intake_event"),
        Index("ix_intake_due", "status", "next_attempt_ms"),
    )


class Cursor(Base):
    """How far a feed was read: polling, bulk export, a subscription's events."""

    __tablename__ = "cursors"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    state: Mapped[dict[str, Any]] = mapped_column(JSON)
    updated_ms: Mapped[int] = mapped_column(BigInteger)


class UsedToken(Base):
    """A token that may be used once, until it expires by itself."""

    __tablename__ = "used_tokens"

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of issuer and `jti`."""
    expires_ms: Mapped[int] = mapped_column(BigInteger, index=True)


class Outcome(Base):
    """What came of a stay for one task: a label for monitoring and retraining, or why there is none."""

    __tablename__ = "outcomes"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """Deterministic, from source, encounter and task: one row for each."""
    source: Mapped[str] = mapped_column(String(64))
    encounter: Mapped[str] = mapped_column(String(1024))
    """The encounter's reference; while it is not known, what the sender of a given label called it."""
    subject: Mapped[str | None] = mapped_column(String(1024))
    task: Mapped[str] = mapped_column(String(64))
    option: Mapped[int | None] = mapped_column(Integer)
    """Index of the option that came true."""
    reason: Mapped[str | None] = mapped_column(String(32))
    """Without an option: `lang1.hospital_record.Missing.code`."""
    origin: Mapped[str] = mapped_column(String(8))
    """`rule`, or `given` by the hospital itself, which stands over the rule."""
    known_ms: Mapped[int | None] = mapped_column(BigInteger)
    """When the outcome was there to be read."""
    discharged_ms: Mapped[int | None] = mapped_column(BigInteger)
    due_ms: Mapped[int | None] = mapped_column(BigInteger)
    """When time alone may change it; None: never."""
    first_recorded_ms: Mapped[int] = mapped_column(BigInteger)
    recorded_ms: Mapped[int] = mapped_column(BigInteger)
    """When the present option or reason was recorded."""
    changes: Mapped[int] = mapped_column(Integer)
    """How often an option was replaced or taken back."""

    __table_args__ = (Index("ix_outcomes_due", "source", "due_ms"),)


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
    client_address: Mapped[str | None] = mapped_column(String(64))
    """As the connection, or a proxy on the same machine, tells it."""
    prediction_ids: Mapped[list[str]] = mapped_column(JSON)

    __table_args__ = (Index("ix_audit_action", "action", "recorded_ms"),)


class ShadowScore(Base):
    """What the arm of a rollout that did not answer would have said of a note: for comparing, and for no client.

    It goes with the prediction that was answered: patient, encounter and note type are that row's.
    """

    __tablename__ = "shadow_scores"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """That the prediction would have, had this model answered."""
    prediction_id: Mapped[str] = mapped_column(ForeignKey("predictions.id"), index=True)
    """What was answered."""
    rollout_id: Mapped[str] = mapped_column(String(32))
    task: Mapped[str] = mapped_column(String(64))
    model_version: Mapped[str] = mapped_column(String(64))
    bundle_sha256: Mapped[str] = mapped_column(String(64))
    is_challenger: Mapped[bool] = mapped_column(Boolean)
    """Whether this is the challenger's score and the champion answered; the other way round otherwise."""
    probabilities: Mapped[list[float]] = mapped_column(JSON)
    adverse_probability: Mapped[float] = mapped_column(Float)
    answered_probability: Mapped[float] = mapped_column(Float)
    """The adverse probability that was answered."""
    recorded_ms: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_shadow_scores_order", "rollout_id", "recorded_ms", "id"),)


class RetrainingRequest(Base):
    """Somebody or something asked for a retrained model, and what became of it. Nothing of a patient."""

    __tablename__ = "retraining_requests"

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    slot: Mapped[str | None] = mapped_column(String(36), unique=True)
    """`open` for the one request that is not closed: two cannot be."""
    origin: Mapped[str] = mapped_column(String(16))
    """`alert`, `person` or `schedule`."""
    asked_by: Mapped[str] = mapped_column(String(64))
    reason: Mapped[str] = mapped_column(String(500))
    alerts: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    """Labels of the alerts that asked."""
    model_version: Mapped[str] = mapped_column(String(64))
    bundle_sha256: Mapped[str] = mapped_column(String(64), index=True)
    """Of the model that was loaded when it was asked for."""
    created_ms: Mapped[int] = mapped_column(BigInteger, index=True)
    status: Mapped[str] = mapped_column(String(16))
    """`requested`, `running`, `done`, `failed` or `held`."""
    attempts: Mapped[int] = mapped_column(Integer)
    next_attempt_ms: Mapped[int] = mapped_column(BigInteger)
    started_ms: Mapped[int | None] = mapped_column(BigInteger)
    """Of the present or last try."""
    finished_ms: Mapped[int | None] = mapped_column(BigInteger)
    code: Mapped[str | None] = mapped_column(String(64))
    """How the last try ended."""
    lease: Mapped[str | None] = mapped_column(String(36))
    """Of the service that follows the job, until `lease_until_ms`."""
    lease_until_ms: Mapped[int | None] = mapped_column(BigInteger)
