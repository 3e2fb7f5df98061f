"""How one file crosses a link: words on the control lane, pieces on the bulk lane.

Sender offers → receiver accepts or refuses → pieces flow as far as credit reaches → sender says the end with its hash →
receiver verifies, renames, and says so. A data channel cannot push back by itself (facts of aiortc), hence the credit:
the receiver tells how many bytes in all may have been sent, and raises it as bytes reach the disk.
"""

import struct

from attrs import field, frozen

from protocol.faults import Fault
from protocol.fields import ExactBytes, Integer, SingleLine

PIECE_HEADER = struct.Struct(">IQ")
"""Transfer number (32 bit) and offset of the first byte (64 bit), big-endian, before each piece."""
PIECE_MAX = 256 * 1024 - PIECE_HEADER.size
"""Payload bytes of the largest piece: aiortc passes no message above 256 KiB."""
FILE_MAX = 2**50
TRANSFER_MAX = 2**32 - 1


@frozen
class FileOffer:
    """Sender to receiver: I have a file for you."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    name: str = field(validator=SingleLine())
    size: int = field(validator=Integer(0, FILE_MAX))


@frozen
class FileAccept:
    """Receiver to sender: send it, from `offset` on, up to `credit` bytes in all for now."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    offset: int = field(validator=Integer(0, FILE_MAX))
    """Where to begin; 0 unless an earlier link has brought a part."""
    credit: int = field(validator=Integer(0, FILE_MAX))


@frozen
class FileCredit:
    """Receiver to sender: up to `credit` bytes in all may have been sent."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    credit: int = field(validator=Integer(0, FILE_MAX))


@frozen
class FileEnd:
    """Sender to receiver: that was all; this is its SHA-256."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    sha256: bytes = field(validator=ExactBytes(32), repr=False)


@frozen
class FileVerified:
    """Receiver to sender: it is here, whole, under its final name."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))


@frozen
class FileAbort:
    """Either side: this transfer is off (refused, failed or no longer wanted)."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    fault: Fault


FileMessage = FileOffer | FileAccept | FileCredit | FileEnd | FileVerified | FileAbort
