"""Where a request came from, in the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("audit", sa.Column("client_address", sa.String(64)))


def downgrade() -> None:
    op.drop_column("audit", "client_address")
