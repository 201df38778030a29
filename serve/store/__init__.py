"""The record of what was scored: SQLite or PostgreSQL, written in one transaction before any answer goes out."""

# Whoever looks at the schema must see all of it.
from serve.store import facts_tables as facts_tables
