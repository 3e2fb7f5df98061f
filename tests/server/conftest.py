"""No test of the server may cause an error that only the log shows."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_incidents(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail if the server has reported an incident, unless the test is marked to cause one."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("rtc.server.incidents")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert "incidents_expected" in request.fixturenames or not found, found


@pytest.fixture
def incidents_expected() -> None:
    """For a test that causes incidents on purpose."""
