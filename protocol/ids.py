"""Ids as distinct types, so that the type checker finds a room id that is passed where a peer id is expected."""

from typing import NewType

RoomId = NewType("RoomId", str)
PeerId = NewType("PeerId", str)
"""One participant of a room. The server assigns it when the peer joins; the peer keeps it when it reconnects."""
JobId = NewType("JobId", str)
"""One job of a worker. The worker assigns it when it accepts the job."""
LinkId = NewType("LinkId", int)
"""One peer connection of this process. A peer that connects again has the same PeerId and a new LinkId."""
