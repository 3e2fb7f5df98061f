"""What a worker announces in the local network, as a DNS-SD service: pure functions to and from its TXT record.

Everybody in the network can read an announcement, and anybody can make one. Rule: nothing that opens the room is in it,
and nothing in it is believed; what is read is checked, cut and cleaned.
"""

from collections.abc import Iterable, Mapping

from attrs import field, frozen

from protocol.faults import FaultCode
from protocol.fields import COUNT_MAX, WORD_MAX, Integer, SingleLine, line, one_line, word
from protocol.session_string import ADDRESS_MAX
from protocol.version import VERSION_MAX, VERSIONS
from rtc.common.errors import RtcError
from rtc.config.server_url import server_url

SERVICE_TYPE = "_sleap-rtc._tcp.local."
"""The service's type (RFC 6763, section 7)."""
TXT_VERSION = "1"
"""The version of this form of the record; others are not understood."""
LABEL_BYTES = 50
"""Bytes of a service's name, which may have 63 (RFC 6763, section 4.1.1): a number is appended if it is taken."""
VALUE_BYTES = 255 - len("server=")
"""Bytes of the longest value of the record, whose strings have at most 255 with their keys (RFC 6763, section 6.4)."""
LINE_BYTES = 16 * 1024
"""Bytes of the longest line of JSON with one of these classes."""


@frozen
class Announcement:
    """What one worker says of itself."""

    name: str = field(converter=word, validator=SingleLine(WORD_MAX))
    gpu: str = field(converter=word, validator=SingleLine(WORD_MAX))
    server: str = field(validator=SingleLine(ADDRESS_MAX))
    """The server's WebSocket address, as other machines reach it."""
    number: int = field(validator=Integer(1, COUNT_MAX))
    """The number of its invitation, which changes with each exchange."""
    version: int = field(default=VERSIONS.newest, validator=Integer(1, VERSION_MAX))
    """The newest version of the protocol that it speaks."""

    @property
    def label(self) -> str:
        """The service's name: the worker's, cut, and without dots, which separate the parts of a DNS name."""
        return _cut(self.name.replace(".", "-"), LABEL_BYTES).strip() or "worker"

    def txt(self) -> dict[str, str]:
        """Return the TXT record.

        Raises:
            RtcError: USAGE: the server's address is too long for it.
        """
        if len(self.server.encode()) > VALUE_BYTES:
            raise RtcError(FaultCode.USAGE, "The server's address is too long to be announced in the local network.")
        return {
            "txtvers": TXT_VERSION,
            "name": _cut(self.name, VALUE_BYTES),
            "gpu": _cut(self.gpu, VALUE_BYTES),
            "server": self.server,
            "number": str(self.number),
            "protocol": str(self.version),
        }


@frozen
class NearbyWorker:
    """A worker that was found."""

    label: str
    """The name of its service, which no other service in the network has; cleaned."""
    announcement: Announcement


@frozen
class ServiceLine:
    """One line of the process that speaks to the network: it is ready, has done what it was told, or has heard
    something."""

    name: str = field(default="", converter=line, validator=SingleLine())
    """The name of the service that is announced, or that was heard; empty for none."""
    worker: NearbyWorker | None = None
    """What a service that was heard says of itself; None if it has gone, or is no worker."""
    problem: str | None = None
    """Why something does not work; None if it does."""


def read_announcement(service_name: str, properties: Mapping[bytes, bytes | None]) -> NearbyWorker | None:
    """Return what a service says of itself; None if it is no announcement of a worker.

    Args:
        service_name: the whole name of the service, with `SERVICE_TYPE` at its end.
        properties: its TXT record, with keys and values as they came.
    """
    texts = {key.lower(): (value or b"").decode(errors="replace") for key, value in properties.items()}
    if texts.get(b"txtvers") != TXT_VERSION:
        return None
    label = one_line(service_name.removesuffix(f".{SERVICE_TYPE}"), WORD_MAX)
    try:
        announcement = Announcement(
            name=texts.get(b"name") or label,
            gpu=texts.get(b"gpu") or "unknown",
            server=server_url(texts.get(b"server", "")),
            number=_integer(texts.get(b"number", "")),
            version=_integer(texts.get(b"protocol", "")),
        )
    except (ValueError, RtcError):
        return None
    return NearbyWorker(label, announcement)


def _integer(text: str) -> int:
    """Return the number of a text of a few ASCII digits.

    Raises:
        ValueError: it is something else.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= 10):
        raise ValueError("this is no number")
    return int(text)


def _cut(text: str, size: int) -> str:
    """Return the beginning of a text, in at most `size` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def without_copies(workers: Iterable[NearbyWorker]) -> tuple[NearbyWorker, ...]:
    """Return the workers by name, each announcement once."""
    by_announcement: dict[Announcement, NearbyWorker] = {}
    for worker in sorted(workers, key=lambda worker: (worker.announcement.name.casefold(), worker.label)):
        by_announcement.setdefault(worker.announcement, worker)
    return tuple(by_announcement.values())


def titles(workers: Iterable[NearbyWorker]) -> dict[str, NearbyWorker]:
    """Return the workers under the names by which a person tells them apart.

    That is the name of the worker, or of its service if another worker has the same name.
    """
    found = tuple(workers)
    names = [worker.announcement.name.casefold() for worker in found]
    titled: dict[str, NearbyWorker] = {}
    for worker, name in zip(found, names, strict=True):
        title = worker.announcement.name if names.count(name) == 1 else worker.label
        numbered = (title, *(f"{title} ({number})" for number in range(2, len(found) + 2)))
        titled[next(each for each in numbered if each not in titled)] = worker
    return titled
