"""The EHR's side: standing of documents, the outbox's leases, what is still to be fetched, used tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_BIG_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    # Not in a batch: that makes the table anew on SQLite, which rows that refer to it forbid.
    op.add_column("predictions", sa.Column("retracted", sa.Boolean, nullable=False, server_default=sa.text("false")))
    op.create_table(
        "document_fates",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("document", sa.String(1024), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("fate", sa.String(16), nullable=False),
        sa.Column("note_key", sa.String(36)),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_document_fates_document", "document_fates", ["source", "document"])
    # No sink could be set before, so there are no rows to keep.
    op.drop_table("outbox")
    op.create_table(
        "outbox",
        sa.Column("id", _BIG_ID, primary_key=True, autoincrement=True),
        sa.Column("prediction_id", sa.String(36), sa.ForeignKey("predictions.id"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("sink", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_ms", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.String(36)),
        sa.Column("lease_until_ms", sa.BigInteger),
        sa.Column("reference", sa.String(1024)),
        sa.Column("last_error", sa.String(64)),
        sa.Column("done_ms", sa.BigInteger),
        sa.UniqueConstraint("prediction_id", "version", name="uq_outbox_prediction_version"),
    )
    op.create_index("ix_outbox_due", "outbox", ["status", "next_attempt_ms"])
    op.create_table(
        "intake",
        sa.Column("id", _BIG_ID, primary_key=True, autoincrement=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(1024), nullable=False),
        sa.Column("event", sa.String(128), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("next_attempt_ms", sa.BigInteger, nullable=False),
        sa.Column("lease", sa.String(36)),
        sa.Column("lease_until_ms", sa.BigInteger),
        sa.Column("last_error", sa.String(64)),
        sa.Column("done_ms", sa.BigInteger),
        sa.UniqueConstraint("source", "reference", "event", name="uq_intake_event"),
    )
    op.create_index("ix_intake_due", "intake", ["status", "next_attempt_ms"])
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("state", sa.JSON, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "used_tokens",
        sa.Column("token_sha256", sa.String(64), primary_key=True),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_used_tokens_expires_ms", "used_tokens", ["expires_ms"])


def downgrade() -> None:
    for table in ("used_tokens", "cursors", "intake", "document_fates", "outbox"):
        op.drop_table(table)
    op.drop_column("predictions", "retracted")
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
