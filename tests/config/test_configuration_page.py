"""The times on the page about the configuration are those of the code."""

from pathlib import Path

import pytest

from actors.inviter import CODE_TIME, PERSON_TIME
from actors.job_query import ANSWER_TIME
from protocol.trust import PROOF_TIME
from rtc.client.rooms_table import ROOM_TIME
from rtc.doctor.finding import CHECK_TIME
from rtc.doctor.machine import LOAD_TIME
from rtc.doctor.sleap_nn import IMPORT_TIME
from rtc.invitations.ask_nearby import LATE_TIME
from rtc.nearby.multicast import BROWSE_TIME
from rtc.server.invitations import OPEN_TIME
from rtc.worker.code_report import BANNER_TIME

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()


@pytest.mark.parametrize(
    ("row", "times"),
    [
        ("each side's proof", (PROOF_TIME,)),
        ("a worker's answers to `jobs`", (ANSWER_TIME,)),
        ("`sleap-rtc rooms`", (ROOM_TIME,)),
        ("`sleap-rtc join --nearby`", (BROWSE_TIME,)),
        ("the person at the worker", (PERSON_TIME,)),
        ("a worker's banner", (BANNER_TIME,)),
        ("a short code that nobody uses", (OPEN_TIME,)),
        ("one check of `doctor`", (CHECK_TIME, LOAD_TIME, IMPORT_TIME)),
    ],
)
def test_each_time_of_the_table_is_that_of_the_code(row: str, times: tuple[float, ...]) -> None:
    [line] = [line for line in PAGE.splitlines() if line.startswith(f"| {row}")]
    assert line.endswith(f"| {'; '.join(f'{time:.0f}' for time in times)} |")


def test_both_sides_agree_on_times_that_are_written_once() -> None:
    assert OPEN_TIME == CODE_TIME
    assert PERSON_TIME == LATE_TIME
