"""Every reader of a journal gets each event once and in order, whether it comes early or late."""

import errno
import os
import stat
from pathlib import Path

import pytest
import trio

from protocol.fields import COUNT_MAX
from protocol.jobs import FramesDone, GpuUse, JobEvent, JobStarted, LogLines, ModelStarted, Progress
from protocol.wire import FRAME_MAX, encode
from rtc.runner import journal as journal_module
from rtc.runner.journal import JOURNAL, MOMENTARY, WAKE_FIFO, Journal, JournalWatcher, is_momentary, open_fifo
from rtc.runner.journal_reader import JournalCursor, read_momentary
from rtc.testing.limits import HANG_TIME

JOB = "job-1"


def line(text):
    return LogLines(JOB, (text,))


def epoch(number):
    return Progress(JOB, 0, number, None, 0.5)


def batch(number, of_epoch=0):
    return Progress(JOB, 0, of_epoch, number, 0.5)


@pytest.fixture
def journal(tmp_path):
    made = Journal(tmp_path)
    yield made
    made.close()


@pytest.fixture
def watcher(tmp_path):
    return JournalWatcher.of(JOB, tmp_path)


def written(folder):
    """Return number and news of each lasting event."""
    cursor, events = JournalCursor(), []
    while (more := cursor.read(folder / JOURNAL)) is not None:
        events += more
    return [(event.seq, event.news) for event in events]


async def read_all(watcher, seen=0):
    with trio.fail_after(HANG_TIME):
        return [event async for event in watcher.follow(seen)]


def test_what_lasts_is_numbered_without_gaps(journal, tmp_path):
    for news in (line("a"), batch(1), line("b"), epoch(0)):
        journal.write(news)
    assert written(tmp_path) == [(1, line("a")), (2, line("b")), (3, epoch(0))]
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (JOURNAL, WAKE_FIFO)} == {0o600}


def test_momentary_events_are_distinguished_from_lasting_ones():
    lasting = (epoch(0), line("a"), JobStarted(JOB, ()), FramesDone(JOB, 0, 16, 16))
    passing = (batch(1), GpuUse(JOB, 1, 2), FramesDone(JOB, 0, 15, 16), FramesDone(JOB, 0, 15))
    assert not any(map(is_momentary, lasting))
    assert all(map(is_momentary, passing))


def test_numbers_go_on_after_a_torn_line(tmp_path):
    first = Journal(tmp_path)
    first.write(line("a"))
    first.write(line("b"))
    first.close()
    whole = (tmp_path / JOURNAL).read_bytes()
    (tmp_path / JOURNAL).write_bytes(whole[:-7])
    second = Journal(tmp_path)
    second.write(line("c"))
    second.close()
    assert written(tmp_path) == [(1, line("a")), (2, line("c"))]


async def test_late_readers_get_the_events_that_they_have_not_seen(journal, watcher):
    for number in range(5):
        journal.write(epoch(number))
    watcher.end()
    assert [event.seq for event in await read_all(watcher)] == [1, 2, 3, 4, 5]
    assert [event.news for event in await read_all(watcher, seen=3)] == [epoch(3), epoch(4)]
    assert await read_all(watcher, seen=5) == []
    assert await read_all(watcher, seen=COUNT_MAX) == []
    assert await watcher.last_seq() == 5


async def test_every_reader_is_woken_by_the_fifo(journal, watcher, nursery):
    received = {name: [] for name in "ab"}
    both = trio.Event()

    async def follow(name):
        async for event in watcher.follow():
            received[name].append(event.news)
            if all(len(news) == 3 for news in received.values()):
                both.set()

    nursery.start_soon(watcher.serve)
    for name in received:
        nursery.start_soon(follow, name)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(3):
        journal.write(epoch(number))
        await trio.testing.wait_all_tasks_blocked(0.01)
    with trio.fail_after(HANG_TIME):
        await both.wait()
    assert received == {name: [epoch(0), epoch(1), epoch(2)] for name in "ab"}
    nursery.cancel_scope.cancel()


async def test_a_reader_waits_for_the_end(journal, watcher, nursery):
    ended = trio.Event()

    async def follow():
        assert [event.news async for event in watcher.follow()] == [line("a"), line("last words")]
        ended.set()

    journal.write(line("a"))
    nursery.start_soon(follow)
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert not ended.is_set()
    journal.write(line("last words"))
    watcher.end()
    with trio.fail_after(HANG_TIME):
        await ended.wait()


async def first(reader):
    with trio.fail_after(HANG_TIME):
        return await anext(reader)


async def test_the_newest_momentary_event_of_each_kind_is_returned_once(journal, watcher):
    journal.write(JobStarted(JOB, ("m",)))
    for number in range(10):
        journal.write(batch(number))
    journal.write(GpuUse(JOB, 1, 2, 3))
    reader = watcher.follow()
    received = [await first(reader) for _ in range(3)]
    assert [(event.seq, event.news) for event in received] == [
        (1, JobStarted(JOB, ("m",))), (None, batch(9)), (None, GpuUse(JOB, 1, 2, 3)),
    ]  # fmt: skip
    journal.write(batch(10))
    assert (await first(reader)).news == batch(10)


async def test_an_outdated_momentary_event_is_not_returned(journal, watcher):
    journal.write(batch(7))
    journal.write(GpuUse(JOB, 1, 2, 3))
    journal.write(epoch(0))
    journal.write(line("after"))
    reader = watcher.follow()
    assert [(await first(reader)).news for _ in range(3)] == [epoch(0), line("after"), GpuUse(JOB, 1, 2, 3)]
    watcher.end()
    assert [event async for event in reader] == []


async def test_times_never_go_back_when_the_clock_is_set(tmp_path, watcher, monkeypatch):
    journal = Journal(tmp_path)
    journal.write(line("a"))
    monkeypatch.setattr(journal_module.time, "time", lambda: 0.0)
    journal.write(line("b"))
    journal.close()
    watcher.end()
    one, two = await read_all(watcher)
    assert one.at <= two.at < one.at + HANG_TIME


async def test_what_a_jobs_own_code_writes_there_is_skipped(journal, watcher, tmp_path):
    foreign = [
        b"no JSON\n",
        b"\xff\x00\n",
        b"[" * FRAME_MAX + b"\n",
        b"x" * (5 * FRAME_MAX) + b"\n",
        encode(JobEvent(line("forged"), 1.0, COUNT_MAX)).encode() + b"\n",
        encode(JobEvent(line("forged"), 1.0)).encode() + b"\n",
        encode(JobEvent(LogLines("job-2", ("of another job",)), 1.0, 2)).encode() + b"\n",
        encode(line("forged")).encode() + b"\n",
    ]
    journal.write(line("a"))
    for block in foreign:
        with (tmp_path / JOURNAL).open("ab") as file:
            file.write(block)
    for text in "bcd":
        journal.write(line(text))
    watcher.end()
    # the forged number 2 is accepted, since it is the next one; no later event is lost
    assert [event.news for event in await read_all(watcher)] == [line("a"), line("c"), line("d")]
    (tmp_path / MOMENTARY).write_bytes(b"\xff" * 10**6)
    assert read_momentary(tmp_path / MOMENTARY) == []


async def test_a_long_journal_is_read_in_blocks(journal, watcher):
    texts = [f"{number} " + "é" * 500 for number in range(300)]
    for text in texts:
        journal.write(line(text))
    watcher.end()
    assert [event.news.lines[0] for event in await read_all(watcher)] == texts
    assert [event.seq for event in await read_all(watcher, seen=290)] == list(range(291, 301))


async def test_a_journal_may_be_moved_while_it_is_read(tmp_path, nursery):
    work, results = tmp_path / "work", tmp_path / "results" / "job-1.events.jsonl"
    work.mkdir()
    results.parent.mkdir()
    journal, watcher = Journal(work), JournalWatcher.of(JOB, work)
    for number in range(3):
        journal.write(epoch(number))
    journal.close()
    reader = watcher.follow()
    assert (await first(reader)).seq == 1
    watcher.end()
    await watcher.move_to(results)
    (work / JOURNAL).unlink()
    assert [event.seq async for event in reader] == [2, 3]
    assert [event.seq for event in await read_all(watcher)] == [1, 2, 3]
    assert os.listdir(results.parent) == [results.name]
    assert [event.seq for event in await read_all(JournalWatcher(JOB, results, over=True))] == [1, 2, 3]


async def test_a_job_without_a_journal_has_none_to_move(tmp_path):
    watcher = JournalWatcher.of(JOB, tmp_path)
    watcher.end()
    await watcher.move_to(tmp_path / "b")
    assert await read_all(watcher) == []
    assert os.listdir(tmp_path) == []


async def test_a_disk_that_fails_ends_the_reading_and_not_the_worker(journal, watcher, tmp_path, caplog):
    journal.write(line("a"))
    (tmp_path / JOURNAL).unlink()
    (tmp_path / JOURNAL).mkdir()
    assert await read_all(watcher) == []
    assert "cannot be read on" in caplog.text
    assert await watcher.last_seq() == 0


async def test_a_journal_that_cannot_be_moved_stays_where_it_is(journal, watcher, tmp_path):
    journal.write(line("a"))
    watcher.end()
    with pytest.raises(OSError, match="No such file"):
        await watcher.move_to(tmp_path / "nowhere" / "x")
    assert [event.news for event in await read_all(watcher)] == [line("a")]


async def test_where_a_file_has_one_name_only_the_journal_is_copied(journal, watcher, tmp_path, monkeypatch):
    def no_links(*_arguments):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(journal_module.Path, "hardlink_to", no_links)
    journal.write(line("a"))
    await watcher.move_to(tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == (tmp_path / JOURNAL).read_bytes()
    assert stat.S_IMODE((tmp_path / "b").stat().st_mode) == 0o600


async def test_no_journal_is_no_event(tmp_path):
    watcher = JournalWatcher(JOB, tmp_path / "nothing", over=True)
    assert await read_all(watcher) == []
    assert await watcher.last_seq() == 0


def test_log_lines_end_when_the_journal_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr(journal_module, "LOG_LINES_SIZE_MAX", 2000)
    monkeypatch.setattr(journal_module, "JOURNAL_MAX", 4000)
    journal = Journal(tmp_path)
    for _ in range(100):
        journal.write(line("x" * 100))
    for number in range(100):
        journal.write(epoch(number))
    journal.close()
    news = [news for _, news in written(tmp_path)]
    cut = [number for number, one in enumerate(news) if one == line(journal_module._LOG_LINES_OMITTED)]
    assert len(cut) == 1
    assert all(isinstance(one, LogLines) for one in news[: cut[0]])
    assert all(isinstance(one, Progress) for one in news[cut[0] + 1 :])
    assert 4000 <= (tmp_path / JOURNAL).stat().st_size < 4300


def test_a_full_disk_loses_events_and_not_the_job(journal, tmp_path, monkeypatch, caplog):
    real = os.write

    def full(descriptor, block):
        if descriptor != journal._file:
            return real(descriptor, block)
        if len(block) > 10:
            return real(descriptor, block[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    journal.write(line("a"))
    with monkeypatch.context() as disk:
        disk.setattr(journal_module.os, "write", full)
        journal.write(line("b" * 95))
        journal.write(ModelStarted(JOB, 0))
    journal.write(line("c"))
    assert written(tmp_path) == [(1, line("a")), (2, line("c"))]
    assert [record.getMessage() for record in caplog.records] == [
        "events of the job are lost (No space left on device); the job goes on"
    ]


def test_a_line_that_lacks_only_its_end_takes_no_number_from_the_next(journal, tmp_path, monkeypatch):
    real = os.write

    def full(descriptor, block):
        if descriptor != journal._file:
            return real(descriptor, block)
        if len(block) > 1:
            return real(descriptor, block[:-1])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(journal_module.os, "write", full)
        journal.write(line("a"))
    journal.write(line("b"))
    assert written(tmp_path) == [(1, line("b"))]


def test_something_else_in_place_of_the_fifo_is_refused(tmp_path):
    (tmp_path / WAKE_FIFO).write_text("")
    with pytest.raises(OSError, match="something else"):
        open_fifo(tmp_path / WAKE_FIFO)


def test_a_full_wake_fifo_does_not_block_the_writer(journal):
    for _ in range(70_000):
        journal._wake()
    journal.write(line("a"))


# -------- the job's own code replaces our files


SPOILERS = {"a folder": Path.mkdir, "a FIFO": os.mkfifo, "a link": lambda path: path.symlink_to("/dev/zero")}


@pytest.fixture(params=SPOILERS.values(), ids=SPOILERS)
def spoil(request):
    def act(path):
        path.unlink(missing_ok=True)
        request.param(path)

    return act


async def test_something_else_in_place_of_momentary_events_hides_no_lasting_ones(journal, watcher, tmp_path, spoil):
    journal.write(line("a"))
    spoil(tmp_path / MOMENTARY)
    received = []

    async def follow():
        received.extend([event.news async for event in watcher.follow()])

    with trio.fail_after(HANG_TIME):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked(0.05)
            journal.write(line("b"))
            watcher.end()
    assert received == [line("a"), line("b")]


def test_something_else_in_place_of_a_file_to_be_written_does_not_stop_the_supervisor(journal, tmp_path, spoil, caplog):
    spoil((tmp_path / MOMENTARY).with_suffix(".part"))
    journal.write(batch(1))
    journal.write(line("a"))
    assert written(tmp_path) == [(1, line("a"))]
    assert "events of the job are lost" in caplog.text


async def test_something_else_in_place_of_the_journal_ends_its_readers_and_is_not_kept(
    tmp_path, spoil, watcher, caplog
):
    spoil(tmp_path / JOURNAL)
    (tmp_path / JOURNAL).with_name("results").mkdir()
    watcher.end()
    assert await read_all(watcher) == []
    assert await watcher.last_seq() == 0
    assert "cannot be read on" in caplog.text
    with pytest.raises(OSError):  # noqa: PT011 (what the system says of it differs)
        await watcher.move_to(tmp_path / "results" / "j")
    assert os.listdir(tmp_path / "results") == []


@pytest.mark.parametrize("clock", [-1e300, -1.0, 1e12, 1e300])
async def test_a_clock_that_is_wrong_does_not_end_the_job(clock, watcher, tmp_path, monkeypatch):
    monkeypatch.setattr("time.time", lambda: clock)
    journal = Journal(tmp_path)
    for news in (line("a"), batch(1), epoch(0)):
        journal.write(news)
    journal.close()
    watcher.end()
    assert [event.news for event in await read_all(watcher)] == [line("a"), epoch(0)]


async def test_what_an_older_worker_wrote_beyond_the_limits_of_today_is_left_out(watcher, tmp_path):
    kept = [encode(JobEvent(epoch(number), 1.0, seq)) for number, seq in ((0, 1), (1, 4))]
    beyond = [
        encode(JobEvent(epoch(0), 1.0, 2)).replace('"epoch":0', '"epoch":9007199254740991'),
        encode(JobEvent(FramesDone(JOB, 0, 5, 5, 1.5), 1.0, 3)).replace('"rate":1.5', '"rate":1e-308'),
    ]
    lines = [kept[0], *beyond, kept[1]]
    (tmp_path / JOURNAL).write_text("".join(f"{each}\n" for each in lines))
    (tmp_path / MOMENTARY).write_text(beyond[1].replace('"seq":3', '"seq":null'))
    assert await watcher.last_seq() == 4
    watcher.end()
    assert [(event.seq, event.news) for event in await read_all(watcher)] == [(1, epoch(0)), (4, epoch(1))]
    assert read_momentary(tmp_path / MOMENTARY) == []
