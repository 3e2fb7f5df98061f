"""What the file system of a folder lacks is found, and nothing is left there."""

import errno
import os
from pathlib import Path

import pytest

from rtc.common.file_system import Feature, find_missing, has_locks

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows locks files everywhere")


def refuse(*_arguments: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("call", "feature"),
    [
        ("fcntl.flock", Feature.LOCKS),
        ("fcntl.lockf", Feature.LOCKS),
        ("os.mkfifo", Feature.FIFOS),
        ("pathlib.Path.symlink_to", Feature.SYMBOLIC_LINKS),
    ],
)
def test_what_a_file_system_lacks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, feature: Feature
) -> None:
    assert find_missing(tmp_path, Feature) is None
    monkeypatch.setattr(call, refuse)
    assert find_missing(tmp_path, Feature) is feature
    assert has_locks(tmp_path) is (feature is not Feature.LOCKS)
    assert list(tmp_path.iterdir()) == []


def test_where_nothing_can_be_written_locks_are_not_what_is_missing(tmp_path: Path) -> None:
    assert has_locks(tmp_path / "nowhere")
