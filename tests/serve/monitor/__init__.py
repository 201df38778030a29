"""The monitor on the database."""
