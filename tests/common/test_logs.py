"""The log file: one line per record, private, without secrets, and it never stops a program."""

import logging
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rtc.common import logs
from rtc.common.logs import FILE_COUNT, Log, Redactor, open_log

SECRET = 'hush "hush" \\ hush/é'


@contextmanager
def logged(folder: Path, level: int = logging.INFO) -> Iterator[Log]:
    with open_log("worker", folder, level=level) as log:
        yield log


def lines(folder: Path) -> list[str]:
    return (folder / "worker.log").read_text().splitlines()


def test_a_record_is_one_line_with_utc_time(tmp_path: Path) -> None:
    with logged(tmp_path):
        logging.getLogger("rtc.x").info("joined %s", "room-1")
    (line,) = lines(tmp_path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \d+ INFO rtc\.x: joined room-1", line)


def test_no_text_can_forge_a_line_or_an_escape(tmp_path: Path) -> None:
    with logged(tmp_path):
        logging.getLogger("rtc").warning("a\n2026-01-01 INFO rtc: all is well\x1b[2J\u202e")
    (line,) = lines(tmp_path)
    assert line.endswith(r"a\n2026-01-01 INFO rtc: all is well\x1b[2J\u202e")


def test_folder_and_file_are_private(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "logs"
    with logged(folder) as log:
        assert log.file == folder / "worker.log"
        assert log.warning is None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "worker.log").stat().st_mode) == 0o600


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with logged(tmp_path):
        pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_hidden_value_is_nowhere(tmp_path: Path) -> None:
    logger = logging.getLogger("rtc")
    with logged(tmp_path) as log:
        log.redactor.hide(f" {SECRET}\n")
        logger.info("secret %s", SECRET)
        logger.info("secret %r and %s", SECRET, {"secret": SECRET})
        logger.info("http://host/?t=hush%20%22hush%22%20%5C%20hush%2F%C3%A9")
        try:
            int(SECRET)
        except ValueError:
            logger.exception("no")
        logger.info("where", stack_info=True)
    text = (tmp_path / "worker.log").read_text()
    assert "hush" not in text.replace("[hidden]", "")
    assert text.count("[hidden]") >= 5
    assert "ValueError: invalid literal for int() with base 10: '[hidden]'" in text
    assert len(text.splitlines()) == 5


def test_the_longest_secret_goes_first() -> None:
    redactor = Redactor()
    redactor.hide("abc")
    redactor.hide("abcdef")
    redactor.hide("")
    assert redactor.clean("abcdef abc ab") == "[hidden] [hidden] ab"
    assert "abc" not in repr(redactor)


def test_libraries_are_logged_only_when_they_warn(tmp_path: Path) -> None:
    with logged(tmp_path, level=logging.DEBUG):
        logging.getLogger("aiortc.rtcpeerconnection").info("chatter")
        logging.getLogger("trio-websocket").debug("chatter")
        logging.getLogger("aioice.ice").warning("trouble")
        logging.getLogger("rtc").debug("detail")
    assert [line.split(": ", 1)[1] for line in lines(tmp_path)] == ["trouble", "detail"]


def test_it_leaves_logging_as_it_was(tmp_path: Path) -> None:
    root, aiortc = logging.getLogger(), logging.getLogger("aiortc")
    before = (list(root.handlers), root.level, aiortc.level)
    with logged(tmp_path, level=logging.DEBUG):
        assert root.level == logging.DEBUG
    assert (list(root.handlers), root.level, aiortc.level) == before


def test_it_rotates_and_keeps_three_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 10_000)
    with logged(tmp_path):
        for _ in range(45):
            logging.getLogger("rtc").info("x" * 1000)
    files = sorted(tmp_path.iterdir())
    assert len(files) == FILE_COUNT
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 and 0 < file.stat().st_size <= 10_000 for file in files)


def test_without_a_folder_there_is_a_sentence_and_no_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file")
    with logged(tmp_path / "taken" / "logs") as log:
        assert log.file is None
        assert log.warning is not None
        assert "No log is written" in log.warning
        assert str(tmp_path) not in log.warning
        logging.getLogger("rtc").error("not written")
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_stops_nothing_and_prints_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "worker.log").symlink_to("/dev/full")
    with logged(tmp_path):
        logging.getLogger("rtc").info("not written")
    assert capsys.readouterr() == ("", "")


def test_odd_characters_are_no_trouble(tmp_path: Path) -> None:
    with logged(tmp_path):
        logging.getLogger("rtc").info("lone surrogate \ud800, µ")
    (line,) = lines(tmp_path)
    assert line.endswith(r"lone surrogate \ud800, µ")
