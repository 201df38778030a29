"""Who asked for a retrained model, and what became of it."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "retraining_requests",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("slot", sa.String(36), unique=True),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("asked_by", sa.String(64), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("alerts", sa.JSON, nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt_ms", sa.BigInteger, nullable=False),
        sa.Column("started_ms", sa.BigInteger),
        sa.Column("finished_ms", sa.BigInteger),
        sa.Column("code", sa.String(64)),
        sa.Column("lease", sa.String(36)),
        sa.Column("lease_until_ms", sa.BigInteger),
    )
    op.create_index("ix_retraining_requests_bundle_sha256", "retraining_requests", ["bundle_sha256"])
    op.create_index("ix_retraining_requests_created_ms", "retraining_requests", ["created_ms"])


def downgrade() -> None:
    op.drop_table("retraining_requests")
