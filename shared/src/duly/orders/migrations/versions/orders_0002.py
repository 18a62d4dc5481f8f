"""Find the oldest pending order at once, however many there are."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

NAME = "ix_orders_pending_created_at"


def upgrade() -> None:
    """Create the index. On PostgreSQL orders are written meanwhile, and a rest is cleared first."""
    pending = sa.text("status = 'pending'")
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(NAME, "orders", ["created_at"], sqlite_where=pending)
        return
    with op.get_context().autocommit_block():
        # One that was interrupted leaves an invalid index behind.
        op.drop_index(NAME, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            NAME, "orders", ["created_at"], postgresql_where=pending, postgresql_concurrently=True
        )


def downgrade() -> None:
    """Drop it."""
    op.drop_index(NAME, "orders")
