-- Every job that a worker took, from its acceptance until long after its result has gone. A job's key has 192 random
-- bits, so one fast hash is enough: there is nothing to guess from it. Times are seconds since 1970.
CREATE TABLE jobs (
    job TEXT PRIMARY KEY,
    key_sha256 BLOB NOT NULL,
    package TEXT NOT NULL, -- its name, for people
    kind TEXT NOT NULL, -- train, track
    worker TEXT NOT NULL, -- the name of the one that took it
    work TEXT NOT NULL, -- the folder where that one keeps the folders of its jobs
    gpu TEXT, -- its UUID
    stage TEXT NOT NULL, -- preparing, running, ended
    outcome TEXT, -- done, failed, cancelled
    text TEXT NOT NULL DEFAULT '', -- how it ended, in one sentence
    created REAL NOT NULL,
    started REAL,
    ended REAL,
    result_bytes INTEGER, -- of its archive; null when there never was one
    fetched REAL, -- its owner has the result
    removed REAL, -- the result was given up
    why TEXT -- was it removed
) STRICT;
