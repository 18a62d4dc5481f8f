"""Alembic's entry point: runs the migrations on the given connection, each in a transaction.

A connection that is in a transaction already, as SQLite's is, keeps it for all of them.
"""

from alembic import context

from duly.orders.schema import VERSION_TABLE
from duly.orders.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    on_version_apply=context.config.attributes["on_version_apply"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
