"""An order service that the check of pending orders can read: the contract in one small file.

Serves the pending orders of a SQLite database, made with a few orders if there is none:

    TOKEN=secret python server.py shop.db 8090
"""

import hmac
import json
import os
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PATH = "/pending-orders"
MOST = 5000
"""A page never holds more orders, whatever was asked for."""
TABLES = """
CREATE TABLE purchase (
    ref TEXT PRIMARY KEY, buyer TEXT, mail TEXT, state TEXT, placed TEXT, touched TEXT
);
CREATE TABLE position (ref TEXT, line INTEGER, article TEXT, amount INTEGER, price TEXT);
CREATE INDEX open_purchases ON purchase (ref) WHERE state = 'open';
CREATE INDEX positions ON position (ref, line);
"""
PAGE = """
SELECT ref AS order_id, buyer AS customer_username, mail AS customer_email,
       placed AS created_at, touched AS updated_at
FROM purchase WHERE state = 'open' AND ref > ? ORDER BY ref LIMIT ?
"""
ITEMS = """
SELECT article AS product_name, amount AS quantity, price AS unit_price
FROM position WHERE ref = ? ORDER BY line
"""


def create(file: str, orders: int = 25) -> None:
    """Make a database with a few orders, two of three of them open. Not if there is one."""
    with sqlite3.connect(file) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'purchase'").fetchone():
            return
        connection.executescript(TABLES)
        for number in range(1, orders + 1):
            ref, time = f"A-{number:06}", f"2026-02-03T12:{number % 60:02}:00Z"
            state = "open" if number % 3 else "sent"
            mail = f"ann+{number}@example.com"
            row = (ref, "ann", mail, state, time, time)
            connection.execute("INSERT INTO purchase VALUES (?, ?, ?, ?, ?, ?)", row)
            position = (ref, 1, 'Pot "blue"', 2, "14.25")
            connection.execute("INSERT INTO position VALUES (?, ?, ?, ?, ?)", position)
    connection.close()


def page(file: str, after: str, limit: int, *, items: bool) -> dict[str, Any]:
    """Return the page after a cursor, which is the last id of the page before."""
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    try:
        found = [dict(row) for row in connection.execute(PAGE, (after, limit + 1))]
        more = len(found) > limit
        del found[limit:]
        for order in found if items else ():
            rows = connection.execute(ITEMS, (order["order_id"],))
            order["items"] = [dict(row) for row in rows]
    finally:
        connection.close()
    return {"orders": found, "next": found[-1]["order_id"] if more else None}


def server(file: str, port: int, token: str) -> ThreadingHTTPServer:
    """Return a server of the orders in a file, for callers who have the token."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """Answer a request for a page."""
            given = self.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
                self._answer(401, {"error": "a token is needed"})
                return
            url = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(url.query).items()}
            limit = query.get("limit", "1000")
            if url.path != PATH or not limit.isdecimal() or int(limit) < 1:
                self._answer(404 if url.path != PATH else 400, {"error": "see the contract"})
                return
            items = query.get("items") == "true"
            self._answer(
                200, page(file, query.get("after", ""), min(int(limit), MOST), items=items)
            )

        def _answer(self, status: int, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Write nothing: a cursor may be an id that is nobody's business."""

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    create(sys.argv[1])
    server(sys.argv[1], int(sys.argv[2]), os.environ["TOKEN"]).serve_forever()
