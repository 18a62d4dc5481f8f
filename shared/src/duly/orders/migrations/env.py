"""What Alembic runs: the migrations, on the connection and in the transaction it was handed."""

from alembic import context

from duly.orders.schema import VERSION_TABLE
from duly.orders.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    on_version_apply=context.config.attributes["on_version_apply"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
