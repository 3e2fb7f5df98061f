-- Rooms, and the hash of the one token that opens each. A token has at least 128 random bits, so one fast hash is
-- enough: there is nothing to guess from it.
CREATE TABLE rooms (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    created TEXT NOT NULL, -- ISO 8601, UTC
    token_hash BLOB NOT NULL -- SHA-256
) STRICT;

-- What the server must remember about itself.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT;
