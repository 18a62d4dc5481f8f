"""Column types that both databases store exactly: prices without floats, instants in UTC."""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Numeric
from sqlalchemy.types import TypeDecorator, TypeEngine
from typing_extensions import override

PLACES = 4
"""Decimal places of a price: enough for a single screw."""
DIGITS = 14
_CENT = Decimal("0.01")


class Price(TypeDecorator[Decimal]):
    """An exact decimal: NUMERIC on PostgreSQL, whole ten-thousandths on SQLite, which has none.

    It is read with two decimal places, and with more only where they are not zero.
    """

    impl = Numeric(DIGITS, PLACES)
    cache_ok = True

    @override
    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the column's type."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(DIGITS, PLACES))

    @override
    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:
        """Refuse a value that the column could not return unchanged."""
        if value is None:
            return None
        if not isinstance(value, Decimal):
            raise TypeError(f"a price is a Decimal, not {type(value).__name__}")
        scaled = _scaled(value)
        return int(scaled) if dialect.name == "sqlite" else value

    @override
    def process_result_value(self, value: Any | None, dialect: Dialect) -> Decimal | None:
        """Return the price with two places, or as many as it needs."""
        if value is None:
            return None
        price = value if isinstance(value, Decimal) else Decimal(value).scaleb(-PLACES)
        short = price.quantize(_CENT)
        return short if short == price else price.normalize()


def _scaled(price: Decimal) -> Decimal:
    try:
        scaled = price.scaleb(PLACES)
        whole = scaled.to_integral_value()
    except InvalidOperation:
        raise ValueError(f"{price} is not a price") from None
    if not whole.is_finite() or whole != scaled or abs(whole) >= 10**DIGITS:
        raise ValueError(f"{price} does not fit: a price has at most {PLACES} decimal places")
    return whole


class Instant(TypeDecorator[datetime]):
    """An aware instant; SQLite has no time zones and stores it in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @override
    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse a time without a zone: it is not an instant."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        instant = value.astimezone(UTC)
        return instant.replace(tzinfo=None) if dialect.name == "sqlite" else instant

    @override
    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the instant in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
