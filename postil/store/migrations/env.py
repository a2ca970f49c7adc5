"""What Alembic runs: the steps of the ledger, on the connection that the store gives it."""

from alembic import context

from postil.store.tables import Table

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Table.metadata, transactional_ddl=True,
                  render_as_batch=connection.dialect.name == "sqlite")  # fmt: skip
context.run_migrations()
