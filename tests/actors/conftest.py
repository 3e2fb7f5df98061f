"""Every test of an actor is traced, and the trace is replayed (`told_again` in `tests/conftest.py`)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtc.common.stories import Stories
from rtc.testing.lab import TRACE


@pytest.fixture(autouse=True)
def traced(tmp_path: Path) -> Iterator[None]:
    """Trace the actors of the test."""
    with Stories(tmp_path / TRACE).in_use():
        yield
