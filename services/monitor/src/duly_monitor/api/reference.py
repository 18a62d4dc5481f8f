"""Writes the page of the API's reference from its OpenAPI description."""

from collections.abc import Iterator
from typing import Any, Final

_INTRODUCTION: Final = """\
# Reference of the monitor's API

`docs/generate.py` writes this page from the OpenAPI description, which each monitor serves at
`openapi.json`. Addresses are below `/monitoring/api/v1`; the answer to every error is a
[ProblemAnswer](#problemanswer). [The monitor](monitor.md#the-api) is the way in.
"""


def api_page(document: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    schemas = document["components"]["schemas"]
    parts = [_INTRODUCTION, "## Operations\n"]
    tables = {path for path in document["paths"] if path.endswith(".csv")}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if path not in tables:
                table = f"{path}.csv" if f"{path}.csv" in tables and method == "get" else ""
                parts += _operation(path, method, operation, table)
    parts.append("## Types\n")
    for name, schema in sorted(schemas.items()):
        parts += _type(name, schema)
    return "\n".join(parts).rstrip("\n") + "\n"


def _operation(path: str, method: str, operation: dict[str, Any], table: str) -> Iterator[str]:
    yield f"### {method.upper()} {path}\n"
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    wants = f" Takes {_kind(body['schema'])}." if body else ""
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    errors = ", ".join(status for status in operation["responses"] if status >= "400")
    csv = f" As CSV: `{table}`." if table else ""
    yield f"{operation['summary']}.{wants} Answers {_kind(answer)}; errors: {errors}.{csv}\n"
    if rows := operation["parameters"]:
        yield "| parameter | in | type | meaning |\n| --- | --- | --- | --- |"
        for row in rows:
            meaning = row["schema"].get("description", "")
            yield f"| `{row['name']}` | {row['in']} | {_kind(row['schema'])} | {_cell(meaning)} |"
        yield ""


def _type(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"### {name}\n"
    # An enumeration has the docstring of its class, which is for programmers.
    yield f"{_cell(schema.get('description', ''))}\n"
    if "enum" in schema:
        yield f"One of {', '.join(f'`{value}`' for value in schema['enum'])}.\n"
        return
    yield "| field | type | meaning |\n| --- | --- | --- |"
    for field, found in schema.get("properties", {}).items():
        yield f"| `{field}` | {_kind(found)} | {_cell(found.get('description', ''))} |"
    yield ""


def _kind(schema: dict[str, Any]) -> str:
    """Return a type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    return str(schema.get("format") or schema.get("type") or "any JSON value")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
