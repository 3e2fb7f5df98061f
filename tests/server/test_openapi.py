"""The OpenAPI document: it is valid, and the server does what it says."""

import http.client
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
import trio

from protocol.converter import document_to_json, from_json, to_json
from protocol.http import (
    BODY_MAX,
    CREATE_ROOM,
    GET_ROOM,
    HEALTH,
    OPENAPI,
    ROUTES,
    Health,
    HttpRoute,
    NewRoom,
    Problem,
    Room,
)
from rtc.server import http_api, open_server, rate_limits
from rtc.server.limits import DEFAULT_LIMITS
from rtc.server.openapi import openapi_document
from rtc.server.rate_limits import TokenBucket
from rtc.testing.limits import HANG_TIME


@pytest.fixture
async def server(tmp_path, monkeypatch):
    """A server whose rate limits allow nothing more with time, so that it does not matter how long requests take."""
    monkeypatch.setattr(rate_limits, "TokenBucket", lambda burst, rate, *_: TokenBucket(burst, rate / 1e6))
    monkeypatch.setattr(http_api, "GUESS_DELAY", 0)
    async with open_server(host="127.0.0.1", ws_port=0, http_port=0, data=tmp_path) as server:
        yield server


@pytest.fixture
def ask(server):
    """Make a request of a route, check the answer against the document, and return its status and values."""

    def ask_now(route: HttpRoute, path: str, body: bytes | None, token: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=HANG_TIME)
        try:
            connection.request(route.method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            values = json.loads(answer.read())
        finally:
            connection.close()
        check(route, answer.status, answer.headers["content-type"], values)
        return answer.status, values

    async def ask(route: HttpRoute, path: str = "", body: bytes | None = None, token: str = ""):
        return await trio.to_thread.run_sync(lambda: ask_now(route, path or route.path, body, token))

    return ask


def check(route: HttpRoute, status: int, content_type: str, values: Any) -> None:
    """Check that an answer is one that the document promises for this route and status."""
    document = openapi_document("0")
    responses = document["paths"][route.path][route.method.lower()]["responses"]
    content = responses[str(status)]["content"]
    assert content.keys() == {content_type}
    schema = content[content_type]["schema"] | {"components": document["components"]}
    jsonschema.validate(values, schema, jsonschema.Draft202012Validator)


def test_the_document_is_valid() -> None:
    document = json.loads(document_to_json(openapi_document("0.1.0")))
    assert document["openapi"].startswith("3.1")
    openapi_spec_validator.validate(document)


def test_the_document_has_every_route_and_says_which_need_a_token() -> None:
    operations = {
        operation["operationId"]: operation
        for methods in openapi_document("0")["paths"].values()
        for operation in methods.values()
    }
    assert operations.keys() == {route.name for route in ROUTES}
    assert [name for name, operation in operations.items() if "security" in operation] == [GET_ROOM.name]


async def test_the_server_sends_the_document(ask) -> None:
    status, document = await ask(OPENAPI)
    assert status == 200
    assert document["paths"] == json.loads(document_to_json(openapi_document("0")))["paths"]


async def test_every_answer_is_what_the_document_promises(ask) -> None:
    assert (await ask(HEALTH))[0] == 200
    status, made = await ask(CREATE_ROOM, body=to_json(CREATE_ROOM.example).encode())
    assert status == 201
    path = f"/api/rooms/{made['room_id']}"
    assert (await ask(GET_ROOM, path, token=made["token"]))[0] == 200
    assert (await ask(CREATE_ROOM, body=b"[]"))[0] == 400
    assert (await ask(CREATE_ROOM, body=b" " * (BODY_MAX + 1)))[0] == 413
    assert [(await ask(GET_ROOM, path))[0] for _ in range(DEFAULT_LIMITS.max_wrong_tokens + 1)][-2:] == [404, 429]
    assert [(await ask(CREATE_ROOM))[0] for _ in range(DEFAULT_LIMITS.max_rooms_per_hour)][-1] == 429


def test_an_answer_that_the_document_does_not_promise_is_found() -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(HEALTH, 200, "application/json", {"status": "ok"})
    with pytest.raises(KeyError):
        check(HEALTH, 201, "application/json", {})


def test_the_examples_on_the_page_are_what_a_server_would_send() -> None:
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text()
    section = page.partition("### HTTP API")[2].partition("\n## ")[0]
    examples = re.findall(r"```json\n(.*?)\n```", section, re.DOTALL)
    for example, kind in zip(examples, (Health, NewRoom, Room, Problem), strict=True):
        assert to_json(from_json(example, kind, limit=4096)) == example
