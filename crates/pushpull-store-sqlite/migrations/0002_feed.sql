-- Reading an endpoint's queue: who reads, how far, and what a change of mode leaves behind.

ALTER TABLE endpoint ADD COLUMN read_seq INTEGER NOT NULL DEFAULT 0;   -- up to here readers were done when it was pushed again
ALTER TABLE endpoint ADD COLUMN draining_since INTEGER;   -- it left push then, and something may still be in flight
ALTER TABLE endpoint ADD COLUMN hold_when_failing INTEGER NOT NULL DEFAULT 0;
CREATE INDEX endpoint_draining ON endpoint (no) WHERE draining_since IS NOT NULL;

CREATE TABLE consumer (
    endpoint INTEGER NOT NULL,
    name TEXT NOT NULL,
    committed INTEGER NOT NULL,   -- every seq up to here is done
    handed INTEGER NOT NULL,      -- handed out up to here
    holder TEXT,                  -- of the lease, if it was named
    leased_until INTEGER,         -- NULL: no lease
    idle_ms INTEGER NOT NULL,     -- removed when not seen for so long
    max_deliver INTEGER NOT NULL, -- work queue: handed out so often before it is parked; 0: never parked
    seen_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,  -- seen_at + idle_ms
    created_at INTEGER NOT NULL,
    PRIMARY KEY (endpoint, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX consumer_expires ON consumer (expires_at);

-- A work queue's exceptions: what was taken of the seqs up to the handed one and is not done. What has no row is
-- done.
CREATE TABLE consumer_item (
    endpoint INTEGER NOT NULL,
    consumer TEXT NOT NULL,
    seq INTEGER NOT NULL,
    state INTEGER NOT NULL,       -- 0: taken, comes back at `due_at`; 1: parked
    due_at INTEGER,
    holder TEXT,                  -- who took it, if it was named
    delivered INTEGER NOT NULL,   -- how often it was handed out
    PRIMARY KEY (endpoint, consumer, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX consumer_item_due ON consumer_item (endpoint, consumer, due_at) WHERE state = 0;
