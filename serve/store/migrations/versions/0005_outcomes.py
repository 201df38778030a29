"""Outcomes of stays, and the facts that they are made from."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def _fact(*columns: sa.Column) -> list[sa.Column]:  # type: ignore[type-arg]
    return [
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("reference", sa.String(1024), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("updated_ms", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
        *columns,
    ]


def upgrade() -> None:
    op.create_table(
        "encounters",
        *_fact(
            sa.Column("status", sa.String(16), nullable=False),
            sa.Column("inpatient", sa.Boolean, nullable=False),
            sa.Column("booked", sa.Boolean, nullable=False),
            sa.Column("left_out", sa.Boolean, nullable=False),
            sa.Column("planned", sa.Boolean, nullable=False),
            sa.Column("transferred_in", sa.Boolean, nullable=False),
            sa.Column("newborn", sa.Boolean, nullable=False),
            sa.Column("died", sa.SmallInteger, nullable=False),
            sa.Column("started_ms", sa.BigInteger),
            sa.Column("ended_ms", sa.BigInteger),
            sa.Column("planned_end_ms", sa.BigInteger),
            sa.Column("unit", sa.String(80)),
            sa.Column("units", sa.JSON, nullable=False),
            sa.Column("sightings", sa.JSON, nullable=False),
        ),
    )
    op.create_index("ix_encounters_subject", "encounters", ["source", "subject"])
    op.create_index("ix_encounters_started", "encounters", ["source", "started_ms"])
    op.create_index("ix_encounters_ended", "encounters", ["source", "ended_ms"])
    op.create_index("ix_encounters_status", "encounters", ["status", "ended_ms"])
    op.create_index("ix_encounters_received", "encounters", ["source", "received_ms"])
    op.create_table("diagnoses", *_fact(sa.Column("codes", sa.JSON, nullable=False)))
    op.create_table(
        "claims",
        *_fact(
            sa.Column("type", sa.String(32), nullable=False),
            sa.Column("counts", sa.Boolean, nullable=False),
            sa.Column("states", sa.JSON, nullable=False),
            sa.Column("removed_updated_ms", sa.BigInteger, nullable=False),
            sa.Column("removed_version", sa.BigInteger, nullable=False),
            sa.Column("decided_ms", sa.BigInteger),
        ),
    )
    op.create_index("ix_claims_decided", "claims", ["source", "decided_ms"])
    op.create_table(
        "fact_links",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("owner", sa.String(36), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("name", sa.String(1024), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("received_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_fact_links_owner", "fact_links", ["owner"])
    op.create_index("ix_fact_links_name", "fact_links", ["source", "name", "role"])
    # Nothing wrote outcomes before, so there are no rows to keep.
    op.drop_table("outcomes")
    op.create_table(
        "outcomes",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("encounter", sa.String(1024), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("task", sa.String(64), nullable=False),
        sa.Column("option", sa.Integer),
        sa.Column("reason", sa.String(32)),
        sa.Column("origin", sa.String(8), nullable=False),
        sa.Column("known_ms", sa.BigInteger),
        sa.Column("discharged_ms", sa.BigInteger),
        sa.Column("due_ms", sa.BigInteger),
        sa.Column("first_recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("changes", sa.Integer, nullable=False),
    )
    op.create_index("ix_outcomes_due", "outcomes", ["source", "due_ms"])
    op.create_index("ix_predictions_task", "predictions", ["task", "last_updated_ms"])
    op.create_index("ix_audit_action", "audit", ["action", "recorded_ms"])


def downgrade() -> None:
    op.drop_index("ix_audit_action", "audit")
    op.drop_index("ix_predictions_task", "predictions")
    for table in ("outcomes", "fact_links", "claims", "diagnoses", "encounters"):
        op.drop_table(table)
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
