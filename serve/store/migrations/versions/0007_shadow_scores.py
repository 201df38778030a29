"""What the arm of a rollout that did not answer would have said."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "shadow_scores",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("prediction_id", sa.String(36), sa.ForeignKey("predictions.id"), nullable=False),
        sa.Column("rollout_id", sa.String(32), nullable=False),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("bundle_sha256", sa.String(64), nullable=False),
        sa.Column("is_challenger", sa.Boolean, nullable=False),
        sa.Column("probabilities", sa.JSON, nullable=False),
        sa.Column("adverse_probability", sa.Float, nullable=False),
        sa.Column("answered_probability", sa.Float, nullable=False),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_shadow_scores_prediction_id", "shadow_scores", ["prediction_id"])
    op.create_index("ix_shadow_scores_order", "shadow_scores", ["rollout_id", "recorded_ms", "id"])


def downgrade() -> None:
    op.drop_table("shadow_scores")
