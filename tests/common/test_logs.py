"""The log file: one line per record, private, without secrets, and it never stops a program."""

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from rtc.common import log_budget, logs
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


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of 10 kB, and no allowances that would leave out lines."""
    monkeypatch.setattr(logs, "FILE_BYTES", 10_000)
    monkeypatch.setattr(log_budget, "BURST", 10**9)


@pytest.mark.usefixtures("small_files")
def test_it_rotates_and_keeps_the_first_file_and_the_three_newest(tmp_path: Path) -> None:
    with logged(tmp_path):
        for number in range(95):
            logging.getLogger("rtc").info("%d %s", number, "x" * 1000)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["worker.log", "worker.log.1", "worker.log.2", "worker.log.first"]
    assert len(files) == FILE_COUNT + 1
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 and 0 < file.stat().st_size <= 10_000 for file in files)
    assert " 0 xxx" in files[-1].read_text().splitlines()[0]
    assert " 94 xxx" in files[0].read_text().splitlines()[-1]


@pytest.mark.usefixtures("small_files")
def test_the_first_file_is_that_of_the_newest_run_that_wrote_so_much(tmp_path: Path) -> None:
    for run in ("one", "two", "three"):
        with logged(tmp_path):
            for _ in range(3 if run == "three" else 45):
                logging.getLogger("rtc").info("%s %s", run, "x" * 1000)
    first = (tmp_path / "worker.log.first").read_text()
    assert "two xxx" in first
    assert "three" not in first


# -------- many lines of one kind


def say(text: str, source: str | None = None) -> None:
    """Log one line; all lines of here are of one kind, unless `source` divides them."""
    logging.getLogger("rtc").info("it says %s", text, extra={log_budget.SOURCE: source} if source else {})


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock for the allowances that stands still until a test sets `now`."""
    made = SimpleNamespace(now=0.0)
    monkeypatch.setattr(logs.time, "monotonic", lambda: made.now)
    return made


@pytest.mark.usefixtures("clock")
def test_a_flood_of_lines_pushes_nothing_out_that_was_there_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "FILE_BYTES", 100_000)
    with logged(tmp_path):
        logging.getLogger("rtc").info("before")
        for number in range(20_000):
            say(f"{number} {'x' * 100}")
        logging.getLogger("rtc").info("after")
    written = lines(tmp_path)
    assert written[0].endswith("before")
    assert any(line.endswith("after") for line in written)
    left_out = 20_000 - sum("it says" in line and "left out" not in line for line in written)
    assert written[-1].endswith(f"{left_out} lines of one kind (it says %s) were left out, because there were too many")
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2 * log_budget.BURST


def test_what_was_left_out_is_said_when_its_time_has_come_and_lines_go_on(
    tmp_path: Path, clock: SimpleNamespace
) -> None:
    with logged(tmp_path):
        for _ in range(2000):
            say("x" * 100)
        before = len(lines(tmp_path))
        clock.now = log_budget.NOTICE_TIME - 1
        logging.getLogger("rtc").info("other")
        assert len(lines(tmp_path)) == before + 1
        clock.now = log_budget.NOTICE_TIME
        say("again")
        assert [line.split(": ", 1)[1] for line in lines(tmp_path)[before:]] == [
            "other",
            f"{2000 - before} lines of one kind (it says %s) were left out, because there were too many",
            "it says again",
        ]


def test_sources_divide_the_lines_of_one_place(tmp_path: Path, clock: SimpleNamespace) -> None:
    with logged(tmp_path):
        for _ in range(2000):
            say("x" * 100, "LinkRequested")
        say("the job has ended", "JobFinished")
    assert any(line.endswith("the job has ended") for line in lines(tmp_path))
    assert "of one kind (LinkRequested)" in lines(tmp_path)[-1]


def test_a_long_line_counts_as_many(tmp_path: Path, clock: SimpleNamespace) -> None:
    with logged(tmp_path):
        for _ in range(10):
            say("x" * 40_000)
    assert sum("xxx" in line for line in lines(tmp_path)) == 2


def test_a_line_of_control_characters_counts_as_it_is_written(tmp_path: Path, clock: SimpleNamespace) -> None:
    with logged(tmp_path):
        for _ in range(10):
            say("\u202e" * 10_000)
    assert sum(r"\u202e" in line for line in lines(tmp_path)) == 2
    assert (tmp_path / "worker.log").stat().st_size < 3 * log_budget.BURST


def test_the_name_of_a_kind_is_short(tmp_path: Path, clock: SimpleNamespace) -> None:
    with logged(tmp_path):
        for _ in range(10):
            logging.getLogger("other").warning("x" * 40_000)
    assert len(lines(tmp_path)[-1]) < 300


def test_stories_are_whole(tmp_path: Path, clock: SimpleNamespace) -> None:
    with logged(tmp_path):
        for _ in range(2000):
            logging.getLogger("rtc.story").info("%s", "x" * 200)
    assert len(lines(tmp_path)) == 2000


def test_a_record_whose_arguments_do_not_fit_is_counted_all_the_same() -> None:
    budget = log_budget.LogBudget(lambda: 0.0)
    record = logging.LogRecord("rtc", logging.INFO, "here.py", 1, "%d lines", ("no",), None)
    allowed = [budget.allows(record) for _ in range(2000)]
    assert allowed == sorted(allowed, reverse=True)
    assert {True, False} == set(allowed)


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
@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs in folders")
def test_a_fifo_in_the_place_of_a_log_keeps_no_program_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "client.log")
    with open_log("client", tmp_path) as log:
        assert log.warning is not None
        assert log.warning.startswith("No log is written")


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
