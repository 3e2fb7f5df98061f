"""The first reading of what a peer sends: which version of the protocol it speaks, and which message it is."""

from protocol.converter import UnknownMessage, WireError, from_json
from protocol.faults import FaultCode
from protocol.signaling import SpokenVersions, ToServer
from protocol.version import VERSIONS, VersionRange, no_common_version
from protocol.wire import TO_SERVER, decode
from rtc.common.errors import RtcError


def read_frame(frame: str, version: int) -> ToServer:
    """Return the message in a frame.

    Raises:
        UnknownMessage: the frame contains a message of a name that is not known.
        RtcError: the frame contains no valid message.
    """
    try:
        return decode(frame, TO_SERVER, version)
    except UnknownMessage:
        raise
    except WireError as error:
        raise RtcError(FaultCode.BAD_MESSAGE, f"The server does not understand: {error}.") from None


def common_version(frame: str) -> int:
    """Return the version that this server and the peer whose first message this is use from now on.

    Raises:
        RtcError: there is none, or the frame contains no message.
    """
    try:
        spoken: SpokenVersions = from_json(frame, SpokenVersions, limit=TO_SERVER.limit)
    except WireError as error:
        raise RtcError(FaultCode.BAD_MESSAGE, f"The server does not understand: {error}.") from None
    versions = spoken.versions
    if versions is None and spoken.version is not None and 0 < spoken.version < VERSIONS.oldest:
        versions = VersionRange(spoken.version, spoken.version)
    if versions is None:  # then the message is not one that may come first, or lacks a field, and the reader says so
        return VERSIONS.newest
    common = VERSIONS.common(versions)
    if common is None:
        text = no_common_version(VERSIONS, versions, us="the server", our_place="on the server")
        raise RtcError(FaultCode.VERSION, text)
    return common
