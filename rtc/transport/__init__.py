"""How messages and files travel: the signalling connection, WebRTC, links, and file transfers over links."""
