"""Names of things, as types, so that a room cannot be handed where a peer is meant."""

from typing import NewType

RoomId = NewType("RoomId", str)
PeerId = NewType("PeerId", str)
"""One participant of a room, given by the server when it joins; kept across reconnections."""
JobId = NewType("JobId", str)
LinkId = NewType("LinkId", int)
"""One peer connection of this process. A peer that comes back has the same PeerId and a new LinkId."""
