"""Create customers, products, orders and order items."""

import sqlalchemy as sa
from alembic import op

from duly.orders.columns import Instant, Price

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and their indexes."""
    key = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    pending = sa.text("status = 'pending'")
    op.create_table(
        "customers",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("username", sa.String(100), nullable=False),
        sa.Column("email", sa.String(320), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_customers"),
        sa.UniqueConstraint("username", name="uq_customers_username"),
    )
    op.create_table(
        "products",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("unit_price", Price, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
    )
    op.create_table(
        "orders",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("customer_id", key, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", Instant, nullable=False),
        sa.Column("updated_at", Instant, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.ForeignKeyConstraint(["customer_id"], ["customers.id"], name="fk_orders_customer_id"),
        sa.CheckConstraint(
            "status IN ('pending', 'completed', 'cancelled')", name="ck_orders_status"
        ),
    )
    op.create_index(
        "ix_orders_pending", "orders", ["id"], sqlite_where=pending, postgresql_where=pending
    )
    op.create_table(
        "order_items",
        sa.Column("id", key, sa.Identity(), nullable=False),
        sa.Column("order_id", key, nullable=False),
        sa.Column("product_id", key, nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("unit_price", Price, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_order_items"),
        sa.ForeignKeyConstraint(
            ["order_id"], ["orders.id"], name="fk_order_items_order_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="fk_order_items_product_id"),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_order_items_quantity")),
    )
    op.create_index("ix_order_items_order_id", "order_items", ["order_id"])


def downgrade() -> None:
    """Drop it all."""
    for table in ("order_items", "orders", "products", "customers"):
        op.drop_table(table)
