"""Encoding and decoding: the only place where messages become JSON text and JSON text becomes messages.

`decode` checks the size first; then it returns a message of the given vocabulary or raises `WireError`, and no other
exception. cattrs alone is no validator (it coerces numbers to text and raises five kinds of exception), hence the
strict hooks.
"""

import base64
import json
import math
import re
from functools import partial
from typing import Any, Generic, TypeVar, get_args

import attrs
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union

from protocol.faults import Fault
from protocol.jobs import JobNews, JobReply, JobRequest, SubmitJob
from protocol.link import LinkMessage
from protocol.signaling import FromServer, ToServer
from protocol.transfer import PIECE_HEADER, PIECE_MAX, FileMessage
from protocol.trust import AuthMessage

M = TypeVar("M")

TAG = "type"
"""The JSON key that holds a message's tag."""


class WireError(Exception):
    """A received text or frame is no message of the vocabulary; the exception's text says why, in one sentence."""


def tag_of(message: type) -> str:
    """Return a message class's tag on the wire: its name in upper snake case (`AuthChallenge`: `AUTH_CHALLENGE`)."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", message.__name__).upper()


def _of_exact_type(kind: type, value: Any, _target: object = None) -> Any:
    if type(value) is not kind:
        raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
    return value


def _finite(value: Any, _target: object = None) -> float:
    # `math.isfinite` raises OverflowError for an int that is larger than every float; `decode` catches it
    if type(value) not in (int, float) or not math.isfinite(value):
        raise TypeError("expected a finite number")
    return float(value)


def _bytes_from_base64(value: Any, _target: object = None) -> bytes:
    return base64.b64decode(_of_exact_type(str, value), validate=True)


_converter = make_converter(forbid_extra_keys=True, detailed_validation=False)
for _kind in (str, int, bool):
    _converter.register_structure_hook(_kind, partial(_of_exact_type, _kind))
_converter.register_structure_hook(float, _finite)
_converter.register_structure_hook(bytes, _bytes_from_base64)
_converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode())


def _register_union(union: Any) -> None:
    """Let the converter choose among the classes of `union` by their tags."""
    configure_tagged_union(union, _converter, tag_generator=tag_of, tag_name=TAG)


_register_union(JobNews)  # must come before the unions whose messages have a field of type JobNews


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
        _register_union(self.union)

    @property
    def messages(self) -> dict[str, type]:
        """Every message class of this vocabulary, by its tag."""
        return {tag_of(message): message for message in get_args(self.union)}


ToWorker = SubmitJob | JobRequest | FileMessage | LinkMessage | Fault
"""What a worker accepts from an authenticated client."""
ToClient = JobReply | FileMessage | LinkMessage | Fault
"""What a client accepts from an authenticated worker."""
Unproven = AuthMessage | LinkMessage
"""What either peer accepts before the authentication."""

FRAME_MAX = 64 * 1024
"""Bytes of the longest frame with a message; pieces of files may be longer."""
TO_SERVER: Vocabulary[ToServer] = Vocabulary("peer to server", ToServer, FRAME_MAX)
FROM_SERVER: Vocabulary[FromServer] = Vocabulary("server to peer", FromServer, FRAME_MAX)
UNPROVEN: Vocabulary[Unproven] = Vocabulary("peer to peer, before authentication", Unproven, 1024)
"""All that is accepted on a link whose peer is not authenticated yet."""
TO_WORKER: Vocabulary[ToWorker] = Vocabulary("client to worker", ToWorker, FRAME_MAX)
TO_CLIENT: Vocabulary[ToClient] = Vocabulary("worker to client", ToClient, FRAME_MAX)
VOCABULARIES: tuple[Vocabulary[Any], ...] = (TO_SERVER, FROM_SERVER, UNPROVEN, TO_WORKER, TO_CLIENT)


def encode(message: Any) -> str:
    """Return a message as JSON text, with its tag.

    The text is ASCII only. Therefore its length is its size in bytes, and a string with half a surrogate pair can be
    sent.

    Raises:
        ValueError: a float field is Infinity or NaN.
    """
    return json.dumps(
        {TAG: tag_of(type(message)), **_converter.unstructure(message)}, separators=(",", ":"), allow_nan=False
    )


def decode(text: str | bytes, vocabulary: Vocabulary[M]) -> M:
    """Return the message that `text` encodes.

    Raises:
        WireError: the text is too long, not JSON, not of this vocabulary, or has missing, unknown or invalid fields.
    """
    size = len(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    if size > vocabulary.limit:
        raise WireError(f"a message of {size} bytes came; at most {vocabulary.limit} are read")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise WireError("what came is not JSON") from None
    if not isinstance(value, dict) or not isinstance(value.get(TAG), str):
        raise WireError(f'a message is a JSON object with a "{TAG}"')
    tag = value[TAG]
    if tag not in vocabulary.messages:
        raise WireError("a message came that does not belong here")
    try:
        message: M = _converter.structure(value, vocabulary.union)
    except ForbiddenExtraKeysError:
        raise WireError(f"{tag} has fields that do not belong to it") from None
    except KeyError:
        raise WireError(f"{tag} lacks a field") from None
    except (AttributeError, TypeError, ValueError, OverflowError, RecursionError):
        raise WireError(f"{tag} has a field that does not fit") from None
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
