"""The record of what was scored: SQLite or PostgreSQL, written in one transaction before any answer goes out."""
