"""A program of its own that announces a service in the local network, or listens for others, with `zeroconf`.

That package runs an asyncio loop, and reads whatever the network sends. So it has a process to itself: nothing of it
meets the loop of our WebRTC connections, and no flood of announcements takes memory from a worker.

    python -m rtc.nearby.service_process announce ADDRESSES INTERFACES
    python -m rtc.nearby.service_process browse INTERFACES

Addresses of IP are separated by commas. It ends when its standard input ends; what it has announced is withdrawn then,
also when the program that has started it was killed. An announcer reads one `Announcement` per line as JSON, or an
empty line to withdraw it. Both write `ServiceLine`s.
"""

import queue
import secrets
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from zeroconf import Error, InterfaceChoice, IPVersion, ServiceBrowser, ServiceInfo, Zeroconf

from protocol.converter import WireError, from_json, to_json
from protocol.fields import line
from rtc.common.errors import RtcError
from rtc.nearby.announcement import LINE_BYTES, SERVICE_TYPE, Announcement, ServiceLine, read_announcement

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange

SERVICES_MAX = 64
"""Services that are looked at; the rest of a flood is ignored."""
DETAILS_TIME = 2.0
"""Seconds to ask for the record of one service that came without it."""
READERS = 8
"""Services whose records are asked for at the same time."""
_output = threading.Lock()
"""Held while a line is written."""
ERRORS = (Error, OSError, ValueError, RuntimeError, RtcError)
"""What the library raises for a network or a record that it cannot use."""


def main(arguments: Sequence[str]) -> int:
    """Run until standard input ends, and return the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the program that has started us
    mode, *lists = arguments
    *addresses, interfaces = [tuple(filter(None, text.split(","))) for text in lists]
    try:
        zeroconf = _open(interfaces)
    except ERRORS as error:
        _write(ServiceLine(problem=_reason(error)))
        return 1
    _write(ServiceLine())  # it is ready
    try:
        if mode == "announce":
            _announce(zeroconf, addresses[0])
        else:
            _browse(zeroconf)
    finally:
        zeroconf.close()
    return 0


def _open(interfaces: Sequence[str]) -> Zeroconf:
    if interfaces:
        return Zeroconf(interfaces=list(interfaces))
    try:
        return Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.All)
    except OSError:  # a machine without IPv6
        return Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.V4Only)


def _write(found: ServiceLine) -> None:
    with _output, suppress(OSError):  # the other program has ended, and we end with it
        sys.stdout.write(to_json(found) + "\n")
        sys.stdout.flush()


def _reason(error: BaseException) -> str:
    return line(getattr(error, "strerror", None) or str(error) or type(error).__name__)


# -------- announcing


def _announce(zeroconf: Zeroconf, addresses: Sequence[str]) -> None:
    """Announce what comes on standard input."""
    host = f"sleap-rtc-{secrets.token_hex(8)}.local."  # not the machine's: its system may announce that one itself
    current: ServiceInfo | None = None
    for text in sys.stdin:
        try:
            announcement = from_json(text, Announcement, limit=LINE_BYTES) if text.strip() else None
            current = _change(zeroconf, current, announcement, host, addresses)
            name = "" if current is None else current.name.removesuffix(f".{SERVICE_TYPE}")
            _write(ServiceLine(name=line(name)))
        except (*ERRORS, WireError) as error:
            _write(ServiceLine(problem=_reason(error)))


def _change(
    zeroconf: Zeroconf, old: ServiceInfo | None, announcement: Announcement | None, host: str, addresses: Sequence[str]
) -> ServiceInfo | None:
    """Announce something new, something else under the same name, or nothing; return the service."""
    if announcement is None:
        if old is not None:
            zeroconf.unregister_service(old)
        return None
    info = ServiceInfo(
        SERVICE_TYPE,
        f"{announcement.label}.{SERVICE_TYPE}" if old is None else old.name,
        port=urlsplit(announcement.server).port or 0,
        properties=announcement.txt(),
        server=host,
        parsed_addresses=list(addresses),
    )
    if old is None:
        zeroconf.register_service(info, allow_name_change=True)  # appends a number to a name that is taken
    else:
        zeroconf.update_service(info)
    return info


# -------- browsing


def _browse(zeroconf: Zeroconf) -> None:
    """Write what is found, until standard input ends."""
    changed: queue.SimpleQueue[str] = queue.SimpleQueue()
    names: set[str] = set()

    def heard(*, zeroconf: Zeroconf, service_type: str, name: str, state_change: "ServiceStateChange") -> None:
        if name in names or len(names) < SERVICES_MAX:
            names.add(name)
            changed.put(name)

    for _ in range(READERS):
        threading.Thread(target=partial(_read_services, zeroconf, changed), daemon=True).start()
    browser = ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[heard])
    sys.stdin.read()
    browser.cancel()


def _read_services(zeroconf: Zeroconf, changed: "queue.SimpleQueue[str]") -> None:
    """Write what the services say of themselves whose names come; a service that has gone says nothing."""
    while True:
        name = changed.get()
        info = ServiceInfo(SERVICE_TYPE, name)
        properties: Mapping[bytes, bytes | None] = {}
        try:
            info.request(zeroconf, DETAILS_TIME * 1000)
            properties = info.properties
        except ERRORS:
            pass
        _write(ServiceLine(name=line(name), worker=read_announcement(name, properties)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
