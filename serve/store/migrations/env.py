"""Alembic's entry: runs on the connection that `serve.store.migrate` hands over, inside its transaction."""

from alembic import context

from serve.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
