"""What people see while sleap-nn writes the configurations of labels that came without one."""

from io import StringIO

import pytest
import trio
import trio.testing

from protocol.jobs import ConfigurationStarted, JobStarted, ModelStarted
from rtc.api.show_progress import ProgressTable, line_of
from rtc.terminal import open_view
from rtc.terminal.interface import Mode
from rtc.terminal.json_events import ConfigurationStartedEvent
from rtc.terminal.summary import CONFIGURING
from rtc.worker.job_status import JobStatus

JOB = "job-1"


@pytest.mark.parametrize("terminal", [True, False])
async def test_the_step_is_a_line_of_its_own_once_and_again_after_a_lost_link_not(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out = StringIO()
    async with open_view(terminal=terminal, mode=Mode.NORMAL, out=out) as view:
        for news in (ConfigurationStarted(JOB), ConfigurationStarted(JOB), JobStarted(JOB, ("centroid",))):
            view.news(news, 0.0)
            await trio.sleep(1.1)
    assert out.getvalue().count(CONFIGURING) == 1


def test_the_status_says_it_until_the_models_are_known() -> None:
    status = JobStatus()
    told = [status.text]
    for news in (ConfigurationStarted(JOB), JobStarted(JOB, ("centroid",)), ModelStarted(JOB, 0, 5)):
        status.update(news)
        told.append(status.text)
    assert told == [
        "The job is starting.",
        "sleap-nn writes the configuration.",
        "The job is starting.",
        "Model 1 of 1 (centroid): sleap-nn is starting.",
    ]


def test_programs_show_it_too() -> None:
    event = ConfigurationStartedEvent(at=1.0, job=JOB)
    assert line_of(event) == CONFIGURING
    table = ProgressTable()
    table.update(event)
    assert str(table.drawn().caption) == CONFIGURING
