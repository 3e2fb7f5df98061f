"""What a worker announces, and what is read of the announcements of others."""

import queue
from io import StringIO
from typing import Any

import pytest

from protocol.converter import to_json
from protocol.version import VERSIONS
from rtc.common.errors import RtcError
from rtc.nearby import service_process
from rtc.nearby.announcement import (
    LABEL_BYTES,
    LINE_BYTES,
    SERVICE_TYPE,
    Announcement,
    NearbyWorker,
    ServiceLine,
    read_announcement,
    titles,
    without_copies,
)

LAB = Announcement("lab", "NVIDIA A40", "ws://192.168.1.20:8080", 7_654_321)


def record(**changes: str | None) -> dict[bytes, bytes | None]:
    """Return the TXT record of LAB with these changes; None leaves a key out."""
    texts = {**LAB.txt(), **changes}
    return {key.encode(): value.encode() for key, value in texts.items() if value is not None}


def read(**changes: str | None) -> NearbyWorker | None:
    return read_announcement(f"lab.{SERVICE_TYPE}", record(**changes))


def test_an_announcement_is_read_as_it_was_written() -> None:
    assert read() == NearbyWorker("lab", LAB)


def test_it_says_this_and_no_more() -> None:
    assert LAB.txt() == {
        "txtvers": "1",
        "name": "lab",
        "gpu": "NVIDIA A40",
        "server": "ws://192.168.1.20:8080",
        "number": "7654321",
        "protocol": str(VERSIONS.newest),
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"txtvers": "2"},
        {"txtvers": None},
        {"server": None},
        {"server": "file:///etc/passwd"},
        {"server": "ws://user:secret@host"},
        {"server": "ws://host/\x1b[31m"},
        {"server": f"ws://{'x' * 3000}"},
        {"number": None},
        {"number": "0"},
        {"number": "-1"},
        {"number": "1e3"},
        {"number": "9" * 5000},
        {"number": "٣"},
        {"protocol": "0"},
        {"protocol": "next"},
        {"protocol": None},
    ],
)
def test_what_is_no_announcement_of_a_worker_is_left_out(changes: dict[str, str | None]) -> None:
    assert read(**changes) is None


def test_what_can_be_left_out_is_replaced() -> None:
    found = read(name=None, gpu=None)
    assert found is not None
    assert (found.announcement.name, found.announcement.gpu) == ("lab", "unknown")


@pytest.mark.parametrize("name", ["\x1b[2Jlab", "lab\nroot# ", "lab\u202e", "x" * 5000])
def test_names_can_only_be_shown(name: str) -> None:
    found = read_announcement(f"{name}.{SERVICE_TYPE}", record(name=name, gpu=name))
    assert found is not None
    for text in (found.label, found.announcement.name, found.announcement.gpu):
        assert text.isprintable() or "\ufffd" in text
        assert len(text) <= 64
        assert "\n" not in text


def test_bytes_that_are_no_text_do_no_harm() -> None:
    found = read_announcement(f"lab.{SERVICE_TYPE}", {**record(), b"name": b"\xff\xfe", b"\xff": None})
    assert found is not None
    assert found.announcement.name == "\ufffd\ufffd"


def test_an_address_of_ipv6_is_one() -> None:
    found = read(server="ws://[fe80::1%eth0]:8080")
    assert found is not None
    assert found.announcement.server == "ws://[fe80::1%eth0]:8080"


@pytest.mark.parametrize(
    ("name", "label"),
    [("lab", "lab"), ("lab.example.org", "lab-example-org"), ("…", "…"), (" ", "worker"), ("研" * 64, "研" * 16)],
)
def test_the_label_is_one_part_of_a_dns_name(name: str, label: str) -> None:
    found = Announcement(name, "CPU", LAB.server, 1).label
    assert found == label
    assert len(found.encode()) <= LABEL_BYTES


def test_no_value_is_longer_than_a_record_may_have() -> None:
    values = Announcement("研" * 64, "研" * 200, "ws://" + "x" * 240, 10**9).txt()
    assert all(len(f"{key}={value}".encode()) <= 255 for key, value in values.items())


def test_an_address_that_is_too_long_is_not_announced() -> None:
    with pytest.raises(RtcError, match="too long"):
        Announcement("lab", "CPU", "ws://" + "x" * 260, 1).txt()


def test_the_same_announcement_is_listed_once() -> None:
    copies = [NearbyWorker(label, LAB) for label in ("lab-2", "lab")]
    assert without_copies(copies) == (NearbyWorker("lab", LAB),)


def test_workers_of_one_name_are_told_apart_by_their_services() -> None:
    other = Announcement("Lab", "CPU", LAB.server, 2)
    third = Announcement("gpu", "CPU", LAB.server, 3)
    found = (NearbyWorker("lab", LAB), NearbyWorker("lab-2", other), NearbyWorker("x", third))
    assert list(titles(found)) == ["lab", "lab-2", "gpu"]


def test_a_worker_that_takes_another_s_names_hides_nobody() -> None:
    found = (NearbyWorker("x", LAB), *(NearbyWorker("lab", Announcement("Lab", "CPU", LAB.server, n)) for n in (2, 3)))
    assert len(titles(found)) == 3


def test_the_longest_announcement_fits_into_a_line_of_our_process() -> None:
    name = "\U0001f9a6" * 62
    found = read_announcement(f"{name}.{SERVICE_TYPE}", record(name=name, gpu=name, server=f"ws://{'é' * 120}"))
    assert found is not None
    assert len(to_json(ServiceLine(name, found))) < LINE_BYTES


def test_a_flood_of_announcements_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was heard first is still read again when it changes."""
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()

    class Flood:
        def __init__(self, _zeroconf: object, _type: str, handlers: list[Any]) -> None:
            for name in (*range(200), 0):
                handlers[0](zeroconf=None, service_type=SERVICE_TYPE, name=f"worker {name}", state_change=None)

        def cancel(self) -> None: ...

    monkeypatch.setattr(service_process, "ServiceBrowser", Flood)
    monkeypatch.setattr(service_process, "READERS", 0)
    monkeypatch.setattr(queue, "SimpleQueue", lambda: heard)
    monkeypatch.setattr("sys.stdin", StringIO())
    service_process._browse(None)  # type: ignore[arg-type]
    names = [heard.get_nowait() for _ in range(heard.qsize())]
    assert names == [*(f"worker {number}" for number in range(service_process.SERVICES_MAX)), "worker 0"]
