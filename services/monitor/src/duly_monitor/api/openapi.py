"""The description of the API as OpenAPI 3.1, made from its routes and models."""

import inspect
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duly_monitor.api.described import DESCRIPTION, Description
from duly_monitor.api.models import ProblemAnswer
from duly_monitor.bounds import Query

_REFERENCE = "#/components/schemas/{model}"


class OpenApi:
    """Answers for `/api/v1/openapi.json`."""

    def __init__(self, prefix: str) -> None:
        self._base = f"{prefix}/api/v1"
        self._document: dict[str, Any] = {}

    def describe(self, routes: Iterable[Route]) -> None:
        """Make the document once, from the routes whose handlers are described."""
        self._document = document(self._base, routes)

    async def answer(self, _request: Request) -> Response:
        """Return the document."""
        return JSONResponse(self._document)


def document(base: str, routes: Iterable[Route]) -> dict[str, Any]:
    """Return the OpenAPI document of the described routes below `base`."""
    paths: dict[str, dict[str, Any]] = {}
    models: set[type[BaseModel]] = {ProblemAnswer}
    bodies: set[type[BaseModel]] = set()
    for route in routes:
        description = _description(route)
        if description is None:
            continue
        models.add(description.answer)
        if description.body is not None:
            bodies.add(description.body)
        path = route.path_format.removeprefix(base)
        for method in sorted((route.methods or set()) - {"HEAD"}):
            paths.setdefault(path, {})[method.lower()] = _operation(route, description)
    ordered = sorted(models, key=lambda model: model.__name__)
    asked = sorted(bodies, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [
            *((model, "serialization") for model in ordered),
            *((model, "validation") for model in asked),
        ],
        ref_template=_REFERENCE,
    )
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
            "schemas": definitions.get("$defs", {}),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
        "security": [{}, {"basic": []}, {"token": []}],
    }


def _description(route: Route) -> Description | None:
    handler = inspect.unwrap(route.endpoint)
    found = getattr(handler, DESCRIPTION, None)
    return found if isinstance(found, Description) else None


def _operation(route: Route, description: Description) -> dict[str, Any]:
    answers = {"200": _answer("Success", description.answer, "application/json")}
    stated = {*description.errors, *((400, 414) if description.query else ())}
    for status in sorted({*stated, 401, 403, 429, 502, 503}):
        phrase = HTTPStatus(status).phrase
        answers[str(status)] = _answer(phrase, ProblemAnswer, "application/problem+json")
    return {
        "operationId": route.name,
        "summary": description.summary,
        "parameters": [
            *_parameters(description.path, "path"),
            *_parameters(description.query, "query"),
        ],
        "responses": answers,
    } | _asks(description.body)


def _asks(model: type[BaseModel] | None) -> dict[str, Any]:
    """Return what an operation says of the body that it wants."""
    if model is None:
        return {}
    reference = {"$ref": _REFERENCE.format(model=model.__name__)}
    content = {"application/json": {"schema": reference}}
    required = any(field.is_required() for field in model.model_fields.values())
    return {"requestBody": {"required": required, "content": content}}


def _answer(text: str, model: type[BaseModel], media_type: str) -> dict[str, Any]:
    reference = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"description": text, "content": {media_type: {"schema": reference}}}


def _parameters(model: type[Query] | None, place: str) -> list[dict[str, Any]]:
    if model is None:
        return []
    schema = model.model_json_schema()
    inlined = schema.get("$defs", {})
    parameters = []
    for name, field in schema["properties"].items():
        reference = field.get("$ref", "").rpartition("/")[2]
        own = {key: value for key, value in field.items() if key != "$ref"}
        parameters.append(
            {
                "name": name,
                "in": place,
                "required": place == "path",
                "schema": {**inlined.get(reference, {}), **own},
            }
        )
    return parameters
