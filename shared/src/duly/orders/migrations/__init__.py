"""The history of the schema, for Alembic; `duly.orders.schema` runs it."""
