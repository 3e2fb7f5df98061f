"""The STUN and TURN servers that every peer gets when it joins, with TURN credentials for this peer that expire.

The secret is shared with the TURN server alone (coturn's `use-auth-secret`). Peers get only credentials that are
computed from it, so a person who has left the lab cannot use the TURN server for long.
"""

import base64
import hmac
import time
from collections.abc import Callable
from pathlib import Path

from attrs import field, frozen

from protocol.faults import FaultCode
from protocol.ids import PeerId
from protocol.signaling import ICE_MAX, IceServerEntry
from rtc.common.errors import RtcError
from rtc.config.ice_servers import read_ice_url

LIFE_TIME = 8 * 3600
"""Seconds for which credentials are valid: a working day. Peers get new ones after half of this time; a TURN allocation
that exists already is not ended."""
SECRET_MIN = 16
"""Minimum number of bytes of the secret. Every peer gets an HMAC made with the secret, and could find a short secret by
trying all possible ones."""
SECRET_FILE_MAX = 4096
"""Bytes of the secret file."""
URL_MAX = 200
"""Characters of a STUN or TURN address, as in `IceServerEntry`."""


@frozen
class TurnCredentials:
    """The STUN and TURN servers that the server sends to peers, and the secret for the TURN credentials."""

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    secret: bytes = field(default=b"", repr=False)
    clock: Callable[[], float] = time.time
    """Returns Unix time in seconds; the TURN server's clock has to agree with it."""

    def for_peer(self, peer: PeerId) -> tuple[IceServerEntry, ...]:
        """Return the servers with credentials for this peer.

        The credentials are those of TURN's REST API (draft-uberti-rtcweb-turn-rest): the user name contains the time at
        which they expire, and the password is its HMAC.
        """
        stun_entries = tuple(IceServerEntry(url) for url in self.stun)
        if not self.turn:
            return stun_entries
        username = f"{int(self.clock()) + LIFE_TIME}:{peer}"
        # TURN servers compute HMAC-SHA-1 here; as an HMAC, SHA-1 is still secure
        credential = base64.b64encode(hmac.digest(self.secret, username.encode(), "sha1")).decode()
        return stun_entries + tuple(IceServerEntry(url, username, credential) for url in self.turn)


NO_TURN = TurnCredentials()
"""Sends no STUN and no TURN servers to peers."""


def read_turn_credentials(stun: tuple[str, ...], turn: tuple[str, ...], secret_file: Path | None) -> TurnCredentials:
    """Return the servers and the secret that the command line names.

    Raises:
        RtcError: USAGE: an address is not a STUN or TURN address, or the secret cannot be read or is too short.
    """
    if len(stun) + len(turn) > ICE_MAX:
        raise RtcError(FaultCode.USAGE, f"At most {ICE_MAX} STUN and TURN servers can be handed out. Leave some out.")
    for option, urls in (("--stun-url", stun), ("--turn-url", turn)):
        for url in urls:
            _check_url(option, url)
    return TurnCredentials(stun, turn, _read_secret(secret_file) if secret_file is not None else b"")


def _check_url(option: str, url: str) -> None:
    try:
        address = read_ice_url(url)
    except ValueError:
        address = None
    # `--stun-url` takes only `stun:`, `--turn-url` takes `turn:` and `turns:`
    if address is None or len(url) > URL_MAX or option[2:6] != address.scheme[:4]:
        example = "stun:host:3478" if option == "--stun-url" else "turn:host:3478, or turn:host:3478?transport=tcp"
        raise RtcError(FaultCode.USAGE, f"{option} is not what it should be: expected an address such as {example}.")


def _read_secret(file: Path) -> bytes:
    try:
        with file.open("rb") as handle:
            secret = handle.read(SECRET_FILE_MAX + 1).strip()
    except OSError as error:
        text = f"The file of --turn-secret-file cannot be read ({error.strerror}). Check its path and permissions."
        raise RtcError(FaultCode.USAGE, text) from None
    if not SECRET_MIN <= len(secret) <= SECRET_FILE_MAX:
        text = (
            f"The file of --turn-secret-file should hold the TURN server's static-auth-secret and nothing else, "
            f"{SECRET_MIN} characters or more. Make one with: openssl rand -hex 32"
        )
        raise RtcError(FaultCode.USAGE, text)
    return secret
