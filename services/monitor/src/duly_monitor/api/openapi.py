"""The description of the API as OpenAPI 3.1, made from its routes and models."""

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duly_monitor.api.described import Description, description_of, with_tag
from duly_monitor.api.models import ProblemAnswer
from duly_monitor.bounds import Query

_REFERENCE: Final = "#/components/schemas/{model}"
_HEADERS: Final = {
    "ETag": "of the content: sent back as If-None-Match, it brings 304 while that is the same",
    "Link": "address of the next page, with rel=next; without it, this is the last",
    "Content-Disposition": "the name of the file",
    "Retry-After": "seconds to wait before the request is sent again",
    "X-Request-Id": "names the request, as errors, the log and the audit do",
}
_PASSING: Final = (429, 503)
"""Refusals that pass by themselves."""
_ALWAYS: Final = (401, 403, 429, 502, 503)


class OpenApi:
    """Answers for `/api/v1/openapi.json`."""

    def __init__(self, prefix: str) -> None:
        self._base = f"{prefix}/api/v1"
        self._document: dict[str, Any] = {}

    def describe(self, routes: Iterable[Route]) -> None:
        """Make the document once, from the routes whose handlers are described."""
        self._document = document(self._base, routes)

    async def answer(self, request: Request) -> Response:
        """Return the document."""
        return with_tag(request, JSONResponse(self._document))


def document(base: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of the described routes below `base`."""
    paths: dict[str, dict[str, Any]] = {"/openapi.json": {"get": _own()}}
    models: set[type[BaseModel]] = {ProblemAnswer}
    bodies: set[type[BaseModel]] = set()
    for route in routes:
        description = description_of(inspect.unwrap(route.endpoint))
        if description is None:
            continue
        models.add(description.answer)
        if description.body is not None:
            bodies.add(description.body)
        path = route.path_format.removeprefix(base)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(route, method, description)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "duly monitor",
            "version": "1",
            "description": "Read and operate queues, tasks, schedules and servers.",
        },
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": _schemas(models, bodies),
            "headers": {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in _HEADERS.items()
            },
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"basic": []}, {"token": []}],
    }


def _schemas(answers: set[type[BaseModel]], bodies: set[type[BaseModel]]) -> dict[str, Any]:
    """Return the schemas of what is answered and of what is asked for, by name."""
    told = sorted(answers, key=lambda model: model.__name__)
    asked = sorted(bodies, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [
            *((model, "serialization") for model in told),
            *((model, "validation") for model in asked),
        ],
        ref_template=_REFERENCE,
    )
    schemas: dict[str, Any] = definitions.get("$defs", {})
    return schemas


def _own() -> dict[str, Any]:
    """Describe where this document is."""
    content = {"application/json": {"schema": {"type": "object"}}}
    return {
        "operationId": "show_openapi",
        "summary": "Show this description",
        "parameters": [],
        "responses": {"200": _response("Success", content, "ETag"), **_refusals((), "GET")},
    }


def _operation(route: Route, method: str, description: Description) -> dict[str, Any]:
    csv = route.path_format.endswith(".csv")
    stated = {400, *description.errors, *((414,) if description.query else ())}
    return {
        "operationId": route.name,
        "summary": f"{description.summary}, as CSV" if csv else description.summary,
        "parameters": [
            *_parameters(description.path, "path"),
            *_parameters(description.query, "query"),
            *_parameters(description.headers, "header"),
        ],
        "responses": {
            "200": _success(description, method, csv=csv),
            **_refusals(stated, method),
        },
    } | _asks(description.body)


def _success(description: Description, method: str, *, csv: bool) -> dict[str, Any]:
    if csv:
        content: dict[str, Any] = {"text/csv": {"schema": {"type": "string"}}}
        return _response("Success", content, "ETag", "Link", "Content-Disposition")
    content = {"application/json": {"schema": _reference(description.answer)}}
    return _response("Success", content, *(("ETag",) if method == "GET" else ()))


def _refusals(stated: Iterable[int], method: str) -> dict[str, Any]:
    """Return all answers but the success."""
    answers: dict[str, Any] = {}
    if method == "GET":
        answers["304"] = _response("Not changed since the tag that was sent", {}, "ETag")
    problem = {"application/problem+json": {"schema": _reference(ProblemAnswer)}}
    for status in sorted({*stated, *_ALWAYS}):
        headers = ("Retry-After",) if status in _PASSING else ()
        answers[str(status)] = _response(HTTPStatus(status).phrase, problem, *headers)
    return answers


def _response(text: str, content: dict[str, Any], *headers: str) -> dict[str, Any]:
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in (*headers, "X-Request-Id")}
    found: dict[str, Any] = {"description": text, "headers": named}
    return found | ({"content": content} if content else {})


def _asks(model: type[BaseModel] | None) -> dict[str, Any]:
    """Return what an operation says of the body that it wants."""
    if model is None:
        return {}
    content = {"application/json": {"schema": _reference(model)}}
    required = any(field.is_required() for field in model.model_fields.values())
    return {"requestBody": {"required": required, "content": content}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _parameters(model: type[Query] | None, place: str) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema()
    needed = set(schema.get("required", ()))
    inlined = schema.get("$defs", {})
    parameters = []
    for name, field in schema["properties"].items():
        reference = field.get("$ref", "").rpartition("/")[2]
        own = {key: value for key, value in field.items() if key != "$ref"}
        parameters.append(
            {
                "name": name,
                "in": place,
                "required": place == "path" or name in needed,
                "schema": {**inlined.get(reference, {}), **own},
            }
        )
    return parameters
