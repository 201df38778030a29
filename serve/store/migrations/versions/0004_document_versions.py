"""Which version of a document is the newest, and how often a score's standing changed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("predictions") as table:
        table.add_column(sa.Column("revision", sa.Integer, nullable=False, server_default="1"))
    # What the version was told by until now.
    op.execute("UPDATE predictions SET revision = 2 WHERE superseded OR retracted")
    op.execute("UPDATE predictions SET revision = 3 WHERE superseded AND retracted")
    op.create_table(
        "document_versions",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("document", sa.String(1024), nullable=False),
        sa.Column("subject", sa.String(1024)),
        sa.Column("note_key", sa.String(36), nullable=False),
        sa.Column("updated_ms", sa.BigInteger),
        sa.Column("number", sa.BigInteger),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_document_versions_document", "document_versions", ["source", "document"])


def downgrade() -> None:
    op.drop_table("document_versions")
    with op.batch_alter_table("predictions") as table:
        table.drop_column("revision")
