"""The WebSocket to the signalling server."""
