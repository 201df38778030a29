"""Bring a database to the newest schema."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, text

from serve.errors import StoreUnavailableError

MIGRATIONS = Path(__file__).parent / "migrations"
# Any fixed number: store replicas that start together must not migrate together.
_ADVISORY_LOCK = 5_111_370_301


def migrate(engine: Engine, revision: str = "head") -> None:
    """Run the packaged Alembic migrations up to head, in one transaction, one process at a time."""
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
        _upgrade(connection, revision)


def _upgrade(connection: Connection, revision: str) -> None:
    # Imported here: alembic takes 0.2 s, and only the process that writes needs it.
    from alembic import command
    from alembic.config import Config
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError:
        # Alembic knows no revision of this name: somebody else's newer version made it.
        raise StoreUnavailableError("the schema is newer than this version; install the newer one") from None
