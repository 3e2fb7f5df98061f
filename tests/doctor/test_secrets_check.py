"""The doctor's check of the files with room secrets."""

import json
from pathlib import Path

import pytest

from rtc.doctor.finding import Finding, Level
from rtc.doctor.secrets import check_secrets, inspect_secrets

SECRET = "the secret of this room"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "secrets").mkdir(mode=0o700)
    return tmp_path


def write(folder: Path, text: str, mode: int = 0o600) -> None:
    path = folder / "secrets" / "room-1"
    path.write_text(text)
    path.chmod(mode)


async def test_without_secrets_there_is_nothing_to_check(folder: Path) -> None:
    assert (await check_secrets(folder)).level is Level.SKIP
    assert inspect_secrets(folder / "to" / "come").level is Level.SKIP


def test_private_secrets_that_can_be_used_are_fine(folder: Path) -> None:
    write(folder, SECRET)
    (folder / "credentials.json").write_text(json.dumps({"room_secrets": {"room-2": SECRET}}))
    (folder / "credentials.json").chmod(0o600)
    assert inspect_secrets(folder) == Finding(Level.OK, "of 2 rooms, which only you can read")


@pytest.mark.parametrize(
    ("text", "mode", "level", "expected"),
    [
        (SECRET, 0o644, Level.WARN, "chmod 600 ~/.sleap-rtc/secrets/room-1"),
        ("", 0o600, Level.WARN, "is empty"),
        ("short", 0o600, Level.FAIL, "at least 16 characters"),
    ],
)
def test_what_is_wrong_with_one_is_said_without_showing_it(
    folder: Path, text: str, mode: int, level: Level, expected: str
) -> None:
    write(folder, text, mode)
    finding = inspect_secrets(folder)
    shown = f"{finding.detail} {finding.advice}"
    assert (finding.level, expected in shown) == (level, True)
    assert SECRET not in shown
