"""STUN and TURN servers for every peer that joins, with TURN credentials of its own that expire.

The secret is shared with the TURN server alone (coturn's `use-auth-secret`); peers see only what is made from it, so
nobody can use the relay for long after leaving the lab.
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
"""Seconds that credentials are good for: a working day. Peers get new ones at half time; an open relay goes on."""
SECRET_MIN = 16
"""Characters. Every peer holds a proof made with the secret, and could try short ones at leisure."""
SECRET_FILE_MAX = 4096
URL_MAX = 200


@frozen
class TurnCredentials:
    """What the server hands out."""

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    secret: bytes = field(default=b"", repr=False)
    clock: Callable[[], float] = time.time
    """Wall-clock seconds; the TURN server's clock has to agree with it."""

    def for_peer(self, peer: PeerId) -> tuple[IceServerEntry, ...]:
        """The servers, with this peer's credentials, as TURN's REST API makes them (draft-uberti-rtcweb-turn-rest)."""
        plain = tuple(IceServerEntry(url) for url in self.stun)
        if not self.turn:
            return plain
        username = f"{int(self.clock()) + LIFE_TIME}:{peer}"
        # SHA-1 is what TURN servers compute here; as an HMAC it is sound
        credential = base64.b64encode(hmac.digest(self.secret, username.encode(), "sha1")).decode()
        return plain + tuple(IceServerEntry(url, username, credential) for url in self.turn)


NO_TURN = TurnCredentials()
"""Neither STUN nor TURN servers are handed out."""


def read_turn_credentials(stun: tuple[str, ...], turn: tuple[str, ...], secret_file: Path | None) -> TurnCredentials:
    """What the command line asks to be handed out.

    Raises:
        RtcError: USAGE: an address is none, or the secret cannot be read or is too short.
    """
    if len(stun) + len(turn) > ICE_MAX:
        raise RtcError(FaultCode.USAGE, f"At most {ICE_MAX} STUN and TURN servers can be handed out. Leave some out.")
    for option, urls in (("--stun-url", stun), ("--turn-url", turn)):
        for url in urls:
            _check(option, url)
    return TurnCredentials(stun, turn, _read_secret(secret_file) if secret_file is not None else b"")


def _check(option: str, url: str) -> None:
    try:
        address = read_ice_url(url)
    except ValueError:
        address = None
    if address is None or len(url) > URL_MAX or option[2:6] != address.scheme[:4]:
        example = "stun:host:3478" if option == "--stun-url" else "turn:host:3478, or turn:host:3478?transport=tcp"
        raise RtcError(FaultCode.USAGE, f"{option} is not what it should be: expected an address such as {example}.")


def _read_secret(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            secret = opened.read(SECRET_FILE_MAX + 1).strip()
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
