"""The WebSocket connection to the signalling server."""
