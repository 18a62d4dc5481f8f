"""The tables of the order service, as the newest migration leaves them."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    text,
)

from duly.orders.columns import Instant, Price


class OrderStatus(StrEnum):
    """The state of an order."""

    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
# SQLite numbers rows itself only if the column is a plain INTEGER; that has 64 bits all the same.
_ID = BigInteger().with_variant(Integer(), "sqlite")
_PENDING = text("status = 'pending'")

CUSTOMERS = Table(
    "customers",
    METADATA,
    Column("id", _ID, Identity(), primary_key=True),
    Column("username", String(100), nullable=False, unique=True),
    Column("email", String(320), nullable=False),
)
PRODUCTS = Table(
    "products",
    METADATA,
    Column("id", _ID, Identity(), primary_key=True),
    Column("name", String(200), nullable=False),
    Column("unit_price", Price, nullable=False),
)
ORDERS = Table(
    "orders",
    METADATA,
    Column("id", _ID, Identity(), primary_key=True),
    Column("customer_id", _ID, ForeignKey(CUSTOMERS.c.id), nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    CheckConstraint("status IN ('pending', 'completed', 'cancelled')", name="status"),
    Index("ix_orders_pending", "id", sqlite_where=_PENDING, postgresql_where=_PENDING),
    Index(
        "ix_orders_pending_created_at",
        "created_at",
        sqlite_where=_PENDING,
        postgresql_where=_PENDING,
    ),
)
ORDER_ITEMS = Table(
    "order_items",
    METADATA,
    Column("id", _ID, Identity(), primary_key=True),
    Column(
        "order_id", _ID, ForeignKey(ORDERS.c.id, ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("product_id", _ID, ForeignKey(PRODUCTS.c.id), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("unit_price", Price, nullable=False),
    CheckConstraint("quantity > 0", name="quantity"),
)
