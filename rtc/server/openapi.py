"""The OpenAPI document of the server's HTTP API, made from the table of routes (`protocol/http.py`).

Source: OpenAPI Specification 3.1.1, whose schemas are JSON Schema 2020-12.
"""

from typing import Any

import attrs

from protocol.fields import Id
from protocol.http import BODY_MAX, JSON_TYPE, PROBLEM_TYPE, ROUTES, HttpRoute, Problem, status_title
from rtc.common.docstrings import class_text
from rtc.server.json_schema import Schemas

_TOKEN = "room_token"  # noqa: S105 - the name of the scheme, no token
_PLACE = "#/components/schemas/"


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document as values of JSON; `version` is that of sleap-rtc on the server."""
    schemas = Schemas(_PLACE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "sleap-rtc server",
            "version": version,
            "description": "Rooms and their workers. Signalling has a port of its own and is not described here.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.named,
            "securitySchemes": {_TOKEN: {"type": "http", "scheme": "bearer", "description": "The room's token."}},
        },
    }


def _operation(route: HttpRoute, schemas: Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": route.name, "summary": route.summary}
    if route.parameters:
        schema = schemas.of(str, Id())
        operation["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": schema} for name in route.parameters
        ]
    if route.request is not None:
        operation["requestBody"] = {
            "description": f"At most {BODY_MAX} bytes.",
            "required": False,
            "content": {JSON_TYPE: {"schema": schemas.of(route.request), "example": attrs.asdict(route.example)}},
        }
    success = {"type": "object"} if route.reply is None else schemas.of(route.reply)
    text = status_title(route.status) if route.reply is None else class_text(route.reply)
    problem = schemas.of(Problem)
    operation["responses"] = {
        str(route.status): _response(text, JSON_TYPE, success),
        **{str(status): _response(when, PROBLEM_TYPE, problem) for status, when in route.problems.items()},
        "default": _response("Any other error.", PROBLEM_TYPE, problem),
    }
    if route.needs_token:
        operation["security"] = [{_TOKEN: []}]
    return operation


def _response(text: str, content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {content_type: {"schema": schema}}}
