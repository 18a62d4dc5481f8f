"""The section `orders`: where the check of pending orders finds them, and how it reads them."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from duly.runtime.section import Duration, Section


class SqlSourceSettings(Section):
    """`orders.sql`: the statements of a shop that has tables of its own in `database.url`."""

    orders: str = Field(
        "",
        description="SELECT of all pending orders with the columns order_id, customer_username and "
        "customer_email; created_at and updated_at if there are any",
    )
    items: str = Field(
        "",
        description="SELECT of their items with the columns order_id, product_name, quantity and "
        "unit_price; empty: no items are shown",
    )


class HttpSourceSettings(Section):
    """`orders.http`: an order service that gives pages of pending orders as JSON."""

    url: str = Field(
        "", description="address of the pending orders: https://orders.example/pending"
    )
    token: SecretStr | None = Field(None, description="sent as Authorization: Bearer …")
    token_file: str | None = Field(
        None, description="file with that token, read again for each check"
    )
    ca_file: str | None = Field(None, description="PEM file of the authority to trust")
    timeout: Duration = Field(
        timedelta(seconds=2), description="maximum duration of one request, its body included"
    )
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        3, description="requests for one page until the check fails"
    )
    max_page_bytes: Annotated[int, Field(ge=1024)] = Field(
        8 * 1024 * 1024, description="maximum size of one page; larger ones are refused"
    )


class OrdersSettings(Section):
    """`orders`: the check of pending orders, used by workers only."""

    source: Literal["builtin", "sql", "http", "python"] = Field(
        "builtin",
        description="builtin: the tables that migrate creates; sql: your own tables; http: an "
        "order service; python: code of your own",
    )
    python: str = Field(
        "", description="for source: python, what makes the source, as module:factory"
    )
    consistent: bool = Field(
        default=False, description="read all pages of a check from one snapshot of the database"
    )
    replica_url: SecretStr | None = Field(
        None, description="address of a replica to read from instead of database.url"
    )
    replica_url_file: str | None = Field(
        None, description="file with that address, read again for each connection"
    )
    shards: Annotated[int, Field(ge=1, le=256)] = Field(
        1, description="tasks that share a check of many orders, run by any workers of the queue"
    )
    log: Literal["every", "changes", "sample"] = Field(
        "every",
        description="which pending orders a check logs: every: each of them; changes: new and "
        "changed ones, and those past log_age; sample: log_share of them",
    )
    log_age: Annotated[Duration, Field(le=timedelta(days=3650))] = Field(
        timedelta(days=1),
        description="for log: changes, the age at which a pending order is logged once more",
    )
    log_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.01,
        description="for log: sample, the share of orders, above 0 and at most 1; always the same",
    )
    sql: SqlSourceSettings = SqlSourceSettings()
    http: HttpSourceSettings = HttpSourceSettings()
