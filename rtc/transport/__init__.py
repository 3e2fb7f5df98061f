"""How messages and files travel: the signalling line, WebRTC, links, and files over links."""
