"""The messages as text: which ones each receiver accepts, and the binary frames of files.

`decode` returns a message of the given vocabulary or raises `WireError`, and no other exception.
"""

from typing import Any, Generic, TypeVar, get_args

import attrs

from protocol.converter import WireError, from_json, register_union, tag_of, to_json
from protocol.faults import Fault
from protocol.jobs import JobNews, JobReply, JobRequest, SubmitJob
from protocol.link import Hello, LinkMessage
from protocol.signaling import FromServer, ToServer
from protocol.transfer import PIECE_HEADER, PIECE_MAX, FileMessage
from protocol.trust import AuthMessage
from protocol.version import VERSIONS, is_spoken

M = TypeVar("M")

register_union(JobNews)  # must come before the unions whose messages have a field of type JobNews


@attrs.frozen
class Vocabulary(Generic[M]):
    """The messages that one receiver accepts."""

    speaker: str
    """Who sends these messages to whom, for `docs/messages.md`."""
    union: Any
    """The union of the message classes."""
    limit: int
    """Bytes of UTF-8 in the longest frame."""

    def __attrs_post_init__(self) -> None:
        register_union(self.union)

    @property
    def messages(self) -> dict[str, type]:
        """Every message class of this vocabulary, by its tag."""
        return {tag_of(message): message for message in get_args(self.union)}


ToWorker = SubmitJob | JobRequest | FileMessage | LinkMessage | Fault
"""What a worker accepts from an authenticated client."""
ToClient = JobReply | FileMessage | LinkMessage | Fault
"""What a client accepts from an authenticated worker."""
Unproven = Hello | AuthMessage | LinkMessage
"""What either peer accepts before the authentication."""

FRAME_MAX = 64 * 1024
"""Bytes of the longest frame with a message; pieces of files may be longer."""
TO_SERVER: Vocabulary[ToServer] = Vocabulary("peer to server", ToServer, FRAME_MAX)
FROM_SERVER: Vocabulary[FromServer] = Vocabulary("server to peer", FromServer, FRAME_MAX)
UNPROVEN: Vocabulary[Unproven] = Vocabulary("peer to peer, before authentication", Unproven, 4096)
"""All that is accepted on a link whose peer is not authenticated yet."""
TO_WORKER: Vocabulary[ToWorker] = Vocabulary("client to worker", ToWorker, FRAME_MAX)
TO_CLIENT: Vocabulary[ToClient] = Vocabulary("worker to client", ToClient, FRAME_MAX)
VOCABULARIES: tuple[Vocabulary[Any], ...] = (TO_SERVER, FROM_SERVER, UNPROVEN, TO_WORKER, TO_CLIENT)


def encode(message: Any, version: int = VERSIONS.newest) -> str:
    """Return a message as JSON text with its tag, as `to_json` does, without the fields that are newer than `version`.

    Raises:
        ValueError: a float field is Infinity or NaN.
    """
    return to_json(message, tagged=True, version=version)


def encode_first(message: Any) -> str:
    """Return a peer's first message to the server, `Join` or `CreateRoom`, as JSON text with its tag.

    The server's versions are not known yet; `to_json` says what that means.
    """
    return to_json(message, tagged=True, version=None)


def is_known(message: Any, version: int) -> bool:
    """Return whether a message can be said in a version: its class, and that of each part of it, exist there."""
    parts = (getattr(message, one.name) for one in attrs.fields(type(message)))
    return is_spoken(type(message), version) and all(is_spoken(type(part), version) for part in parts)


def decode(text: str | bytes, vocabulary: Vocabulary[M], version: int = VERSIONS.newest) -> M:
    """Return the message that `text` encodes.

    Raises:
        UnknownMessage: the vocabulary has no message of this name, in this version.
        WireError: the text is too long, not JSON, or has missing or invalid fields.
    """
    message: M = from_json(text, vocabulary.union, limit=vocabulary.limit, version=version)
    return message


def pack_piece(transfer: int, offset: int, payload: bytes | memoryview) -> bytes:
    """Return one binary frame: the header with transfer number and offset (`PIECE_HEADER`), then the payload."""
    return b"".join((PIECE_HEADER.pack(transfer, offset), payload))


def unpack_piece(frame: bytes) -> tuple[int, int, memoryview]:
    """Return transfer number, offset in the file, and payload of a binary frame.

    Raises:
        WireError: the frame is shorter than its header, has no payload, or is longer than aiortc could have sent.
    """
    if not PIECE_HEADER.size < len(frame) <= PIECE_HEADER.size + PIECE_MAX:
        raise WireError(f"a piece of {len(frame)} bytes came")
    transfer, offset = PIECE_HEADER.unpack_from(frame)
    return transfer, offset, memoryview(frame)[PIECE_HEADER.size :]
