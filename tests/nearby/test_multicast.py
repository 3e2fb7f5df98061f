"""Announcing and finding workers with real multicast, between programs of this machine."""

import socket
import struct
import subprocess
import sys

import pytest
import trio

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.nearby import multicast
from rtc.nearby.announcement import Announcement, NearbyWorker
from rtc.nearby.multicast import browse, open_announcer
from rtc.testing.limits import HANG_TIME

LOOPBACK = ("127.0.0.1",)
SERVER = "ws://127.0.0.1:8080"


def multicast_works() -> bool:
    """Whether a datagram to the group of mDNS comes back on the loopback interface."""
    group, interface = socket.inet_aton("224.0.0.251"), socket.inet_aton("127.0.0.1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", 0))
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4s", group, interface))
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            probe.settimeout(1)
            probe.sendto(b"?", ("224.0.0.251", probe.getsockname()[1]))
            return probe.recv(1) == b"?"
        except OSError:
            return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not multicast_works(), reason="this machine's loopback interface has no multicast"),
]


def worker(name: str, number: int = 1) -> Announcement:
    return Announcement(name, "NVIDIA A40", SERVER, number)


async def find(*names: str) -> dict[str, NearbyWorker]:
    """Search until the workers with these names are found, and return all that were found by the names of their
    services."""
    seen: dict[str, NearbyWorker] = {}

    def enough(found: NearbyWorker) -> bool:
        seen[found.label] = found
        return set(names) <= {each.announcement.name for each in seen.values()}

    found = await browse(LOOPBACK, seconds=HANG_TIME, enough=enough)
    return {each.label: each for each in found}


async def test_a_worker_is_found_and_its_new_number_too() -> None:
    async with open_announcer(LOOPBACK, LOOPBACK) as announcer:
        await announcer.announce(worker("first light", 1))
        assert (await find("first light"))["first light"] == NearbyWorker("first light", worker("first light", 1))
        await announcer.announce(worker("first light", 2))
        assert (await find("first light"))["first light"].announcement.number == 2


async def test_two_workers_of_one_name_are_both_found() -> None:
    async with open_announcer(LOOPBACK, LOOPBACK) as one, open_announcer(LOOPBACK, LOOPBACK) as two:
        await one.announce(worker("twin", 1))
        await two.announce(worker("twin", 2))
        await two.announce(worker("twin", 3))

        numbers: set[int] = set()

        def both(found: NearbyWorker) -> bool:
            numbers.add(found.announcement.number)
            return {1, 3} <= numbers

        found = await browse(LOOPBACK, seconds=HANG_TIME, enough=both)
    assert {(each.label, each.announcement.number) for each in found} >= {("twin", 1), ("twin-2", 3)}


@pytest.mark.long
async def test_a_worker_that_has_ended_or_withdrawn_is_not_found() -> None:
    async with open_announcer(LOOPBACK, LOOPBACK) as announcer, open_announcer(LOOPBACK, LOOPBACK) as other:
        await other.announce(worker("stays"))
        await announcer.announce(worker("withdrawn"))
        async with open_announcer(LOOPBACK, LOOPBACK) as third:
            await third.announce(worker("ended"))
        assert await announcer.announce(None) == ""
        assert await announcer.announce(None) == ""
        assert set(await find("stays")) >= {"stays"}
        assert not {"withdrawn", "ended"} & set(await find("stays"))


STRANGER = """
import sys
from zeroconf import ServiceInfo, Zeroconf
zeroconf = Zeroconf(interfaces=["127.0.0.1"])
for number, record in enumerate(({}, {"txtvers": "1", "server": "?"}, b"\\xff" * 300)):
    name = f"odd-{number}._sleap-rtc._tcp.local."
    zeroconf.register_service(ServiceInfo("_sleap-rtc._tcp.local.", name, port=1, properties=record))
print("ready", flush=True)
sys.stdin.read()
zeroconf.close()
"""
"""Announces what is no worker under our type."""


@pytest.mark.long
async def test_what_others_announce_under_our_type_is_left_out() -> None:
    command = [sys.executable, "-c", STRANGER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as stranger:  # noqa: ASYNC220
        assert stranger.stdout is not None
        assert await trio.to_thread.run_sync(stranger.stdout.readline) == b"ready\n"
        async with open_announcer(LOOPBACK, LOOPBACK) as announcer:
            await announcer.announce(worker("honest"))
            assert not {label for label in await find("honest") if label.startswith("odd")}
        stranger.communicate()


@pytest.mark.parametrize("interfaces", [("192.0.2.77",), ("nonsense",)])
async def test_a_network_without_multicast_is_an_error_for_people(interfaces: tuple[str, ...]) -> None:
    with pytest.raises(RtcError, match="5353") as error:
        await browse(interfaces)
    assert error.value.fault.code is FaultCode.OTHER
    with pytest.raises(RtcError, match="5353"):
        async with open_announcer(LOOPBACK, interfaces):
            raise AssertionError("it does not open")


async def test_an_announcement_that_is_too_long_is_refused_and_the_next_one_is_not() -> None:
    async with open_announcer(LOOPBACK, LOOPBACK) as announcer:
        with pytest.raises(RtcError, match="too long"):
            await announcer.announce(Announcement("lab", "CPU", "ws://" + "x" * 300, 1))
        assert await announcer.announce(worker("short enough")) == "short enough"


async def test_no_variable_of_ours_goes_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLEAP_RTC_ROOM_SECRET_LAB", "hush")
    assert not [name for name in multicast._environment() if name.startswith("SLEAP_RTC_")]


async def test_a_process_that_is_killed_is_an_error_for_people() -> None:
    async with open_announcer(LOOPBACK, LOOPBACK) as announcer:
        announcer._process._process.kill()
        with pytest.raises(RtcError, match="has ended"):
            await announcer.announce(worker("nobody"))
