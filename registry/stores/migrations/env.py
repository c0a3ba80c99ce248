"""Alembic's entry: run the migrations on the connection, and in the transaction, that `schema.migrate` brings."""

from alembic import context

from registry.stores.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
