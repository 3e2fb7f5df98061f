"""Links: one worker and one client, connected by a WebRTC peer connection, authenticated with the room secret."""
