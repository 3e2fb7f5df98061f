"""Find out whether the other end of a TCP connection on this machine belongs to the user of this program.

Any user of a machine can connect to a port of 127.0.0.1, and listen on one that is free. Linux lists the sockets of all
users with their owners in `/proc/net/tcp` (proc_net_tcp(5)); other systems do not show another user's sockets to
ordinary users, so the owner cannot be told there. root is trusted, as it can read and change every process anyway.

Rule: a connection is checked, not a port, and only an established one counts. A socket that its program has closed, or
has not accepted yet, is listed with user 0 and inode 0, whoever its user is.
"""

import enum
import logging
import os
import socket
import sys
from functools import cache
from pathlib import Path

log = logging.getLogger("rtc.socket")

TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
"""The second one has connections of IPv6 sockets to IPv4 addresses, and is missing where the kernel has no IPv6."""
TRIES = 3
"""Times that the table is read before a connection counts as ended; it may change while it is read, and a row be
missed."""
_ESTABLISHED = 1
"""TCP_ESTABLISHED in Linux's `tcp_states.h`; `01` in the table."""
_MAPPED = "0000000000000000FFFF0000" if sys.byteorder == "little" else "00000000000000000000FFFF"
"""The first twelve bytes of an IPv4 address as an IPv6 one (RFC 4291, section 2.5.5.2), as the table spells them."""


class PeerOwner(enum.Enum):
    """Whose socket the other end of a connection is."""

    OURS = "this user's, or root's"
    ANOTHER = "another user's"
    GONE = "nobody's: the connection has ended, or was not accepted yet"
    UNKNOWN = "cannot be told on this system"

    @property
    def may_talk(self) -> bool:
        """Whether the other end is to be listened to: it is ours, or nothing better can be known."""
        return self in (PeerOwner.OURS, PeerOwner.UNKNOWN)


def find_peer_owner(descriptor: int) -> PeerOwner:
    """Return whose socket the other end of a connection between two IPv4 addresses of this machine is.

    Args:
        descriptor: the descriptor of the connected socket; it stays open.
    """
    if sys.platform != "linux":
        return PeerOwner.UNKNOWN
    try:
        with socket.socket(fileno=os.dup(descriptor)) as connection:
            ends = _spell(connection.getpeername()), _spell(connection.getsockname())
            for _ in range(TRIES):
                user = _find_user(*ends)
                # checked afterwards: as long as our end is established, the other end is the one that was found
                if connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != _ESTABLISHED:
                    return PeerOwner.GONE
                if user is not None:
                    return PeerOwner.OURS if user in (0, os.geteuid()) else PeerOwner.ANOTHER
    except _UnreadableError as error:
        _report_unreadable(str(error))
        return PeerOwner.UNKNOWN
    except OSError:  # the connection has ended
        pass
    return PeerOwner.GONE


class _UnreadableError(Exception):
    """The table of sockets cannot be read on this machine."""


@cache
def _report_unreadable(reason: str) -> None:
    """Log that owners cannot be told; once for each reason."""
    log.warning("another user's connections to local ports cannot be told from this user's, because %s", reason)


def _spell(address: tuple[str, int]) -> str:
    """Return an IPv4 address and port as the table has them: the address as a number of this machine's byte order."""
    number = int.from_bytes(socket.inet_aton(address[0]), sys.byteorder)
    return f"{number:08X}:{address[1]:04X}"


def _find_user(local: str, remote: str) -> int | None:
    """Return the user of the established socket with these two ends; None when no program has such a socket open.

    Raises:
        _UnreadableError: the table cannot be read.
    """
    for table, prefix in zip(TABLES, ("", _MAPPED), strict=True):
        try:
            content = table.read_bytes()
        except OSError as error:
            if table == TABLES[0]:
                raise _UnreadableError(f"{table} cannot be read ({error.strerror})") from None
            continue
        _, found, rest = content.partition(f": {prefix}{local} {prefix}{remote} 01 ".encode())
        if found:
            # after the state: queues, timer, retransmits, user, timeout, inode
            _, _, _, user, _, inode, *_ = rest.split(b"\n", 1)[0].split()
            if inode != b"0":
                return int(user)
    return None
