"""How one file is sent over a link: messages on the control channel, pieces of the file on the bulk channel.

1. The sender offers the file (`FileOffer`).
2. The receiver accepts (`FileAccept`) or refuses (`FileAbort`).
3. The sender sends pieces, up to the credit; the receiver raises the credit (`FileCredit`).
4. The sender sends the file's hash (`FileEnd`).
5. The receiver verifies the hash, gives the file its final name, and confirms (`FileVerified`).

aiortc's data channels have no back-pressure towards the sending application, hence the credit: the receiver reports how
many bytes of the file may have been sent in total, and raises that number as bytes reach its disk.
"""

import struct

from attrs import field, frozen

from protocol.faults import Fault
from protocol.fields import ExactBytes, Integer, SingleLine

PIECE_HEADER = struct.Struct(">IQ")
"""Header of each piece: transfer number (32 bit) and offset of the first byte in the file (64 bit), big-endian."""
PIECE_MAX = 256 * 1024 - PIECE_HEADER.size
"""Payload bytes of the largest piece: aiortc passes no message above 256 KiB."""
PIECE_MIN = 1024
"""Payload bytes of the smallest piece that we send, the last one of a file excepted."""
FILE_MAX = 2**50
"""Bytes of the largest file."""
TRANSFER_MAX = 2**32 - 1
"""The largest transfer number. On one link, each transfer has a higher number than all before it."""


@frozen
class FileOffer:
    """Sender to receiver: I have a file for you. Answered by `FileAccept` or `FileAbort`."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    """The number of this transfer, which all its messages and pieces carry."""
    name: str = field(validator=SingleLine())
    """The file's name without folders."""
    size: int = field(validator=Integer(0, FILE_MAX))
    """Bytes of the file."""


@frozen
class FileAccept:
    """Receiver to sender: send the file from byte `offset` on, and for now not beyond its first `credit` bytes."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    offset: int = field(validator=Integer(0, FILE_MAX))
    """Bytes of the file that the receiver has already from an earlier link; 0 when it has none."""
    credit: int = field(validator=Integer(0, FILE_MAX))
    """Bytes of the file, counted from its first byte, that may have been sent in total."""


@frozen
class FileCredit:
    """Receiver to sender: you may now send up to the first `credit` bytes of the file."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    credit: int = field(validator=Integer(0, FILE_MAX))
    """Bytes of the file, counted from its first byte, that may have been sent in total; never less than before."""


@frozen
class FileEnd:
    """Sender to receiver: all pieces are sent, and this is the SHA-256 of the file. Answered by `FileVerified`."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    sha256: bytes = field(validator=ExactBytes(32), repr=False)
    """Hash of the whole file, also when only its end was sent over this link."""


@frozen
class FileVerified:
    """Receiver to sender: I have the whole file, its hash is right, and it has its final name."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))


@frozen
class FileAbort:
    """Sender or receiver to the other: this transfer ends without success (refused, failed or cancelled)."""

    transfer: int = field(validator=Integer(0, TRANSFER_MAX))
    fault: Fault
    """Why it ends."""


FileMessage = FileOffer | FileAccept | FileCredit | FileEnd | FileVerified | FileAbort
