"""The first schema: predictions, outbox, outcomes, audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("note_key", sa.String(36), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("document", sa.String(1024)),
        sa.Column("text_sha256", sa.String(64), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("task_version", sa.Integer, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("encounter", sa.String(1024)),
        sa.Column("identifier", sa.String(64)),
        sa.Column("last_updated_ms", sa.BigInteger, nullable=False),
        sa.Column("superseded", sa.Boolean, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
    )
    op.create_index("ix_predictions_note_key", "predictions", ["note_key"])
    op.create_index("ix_predictions_identifier", "predictions", ["identifier"])
    op.create_index("ix_predictions_order", "predictions", ["last_updated_ms", "id"])
    op.create_index("ix_predictions_subject", "predictions", ["subject", "last_updated_ms"])
    op.create_index("ix_predictions_encounter", "predictions", ["encounter", "last_updated_ms"])
    op.create_index("ix_predictions_document", "predictions", ["source", "document"])
    op.create_table(
        "outbox",
        sa.Column("id", _BIG_ID, primary_key=True, autoincrement=True),
        sa.Column("prediction_id", sa.String(36), sa.ForeignKey("predictions.id"), nullable=False, unique=True),
        sa.Column("sink", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_outbox_due", "outbox", ["status", "next_attempt_ms"])
    op.create_table(
        "outcomes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("encounter", sa.String(1024)),
        sa.Column("option", sa.Integer, nullable=False),
        sa.Column("occurred_ms", sa.BigInteger),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_outcomes_encounter", "outcomes", ["encounter"])
    op.create_table(
        "audit",
        sa.Column("id", _BIG_ID, primary_key=True, autoincrement=True),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("prediction_ids", sa.JSON, nullable=False),
    )
    op.create_index("ix_audit_recorded_ms", "audit", ["recorded_ms"])


def downgrade() -> None:
    for table in ("audit", "outcomes", "outbox", "predictions"):
        op.drop_table(table)
