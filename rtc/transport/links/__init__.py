"""Links: one worker and one client, joined by a peer connection, proven by the room secret."""
