-- The words are those of the domain. Times are milliseconds since the Unix epoch. `no` numbers a row for
-- the store alone. A message's key is app << 40 | position, a delivery's endpoint << 40 | seq, an attempt's
-- endpoint << 40 | n: each table is its own index, appended to, and nothing else has to be written.

CREATE TABLE environment (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
    hash BLOB PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    environment INTEGER NOT NULL,
    prefix TEXT NOT NULL,
    name TEXT NOT NULL,
    scope TEXT NOT NULL,          -- admin, send, read or app
    app INTEGER,                  -- with scope app
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX api_key_revoked ON api_key (revoked_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE app (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    environment INTEGER NOT NULL,
    uid TEXT,
    name TEXT NOT NULL,
    rate_limit INTEGER,
    metadata TEXT NOT NULL,
    version INTEGER NOT NULL,     -- grows with each change to it or to one of its endpoints
    trimmed_position INTEGER NOT NULL DEFAULT 0,
    erased_position INTEGER NOT NULL DEFAULT 0,   -- payloads up to here were erased by age, but for those with a time
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX app_id ON app (environment, id) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX app_uid ON app (environment, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX app_deleted ON app (no) WHERE deleted_at IS NOT NULL;

CREATE TABLE event_type (
    environment INTEGER NOT NULL,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    archived INTEGER NOT NULL,
    deprecated INTEGER NOT NULL,
    schemas TEXT,
    feature_flags TEXT,
    group_name TEXT,
    retry_schedule TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (environment, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE endpoint (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    app INTEGER NOT NULL,
    uid TEXT,
    url TEXT NOT NULL,
    description TEXT NOT NULL,
    event_types TEXT,
    channels TEXT,
    mode INTEGER NOT NULL,
    disabled_at INTEGER,
    disabled_reason INTEGER,
    failing_since INTEGER,
    failing_notified INTEGER NOT NULL DEFAULT 0,
    rate_limit INTEGER,
    retry_schedule TEXT,
    fifo INTEGER NOT NULL,
    headers BLOB NOT NULL,        -- sealed
    secrets BLOB NOT NULL,        -- sealed
    metadata TEXT NOT NULL,
    ended_seq INTEGER DEFAULT 0,  -- of a deleted one: up to here nothing is owed any more; NULL: nothing at all
    trimmed_seq INTEGER NOT NULL DEFAULT 0,
    trimmed_attempt INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    deleted_at INTEGER
) STRICT;
CREATE INDEX endpoint_app ON endpoint (app) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX endpoint_uid ON endpoint (app, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX endpoint_ending ON endpoint (no) WHERE deleted_at IS NOT NULL AND ended_seq IS NOT NULL;
CREATE INDEX endpoint_ended ON endpoint (no) WHERE deleted_at IS NOT NULL AND ended_seq IS NULL;

CREATE TABLE message (
    key INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    salt INTEGER NOT NULL,
    event_type TEXT NOT NULL,
    channels TEXT,                -- separated by spaces
    tags TEXT,                    -- separated by spaces
    event_id TEXT,
    content_type TEXT,
    deliver_at INTEGER,
    payload_expires_at INTEGER,
    fanout BLOB NOT NULL,         -- its deliveries: pairs of LEB128 numbers, endpoint and seq
    payload BLOB                  -- NULL: expunged
) STRICT;
CREATE INDEX message_payload_expires ON message (payload_expires_at) WHERE payload_expires_at IS NOT NULL;

CREATE TABLE delivery (
    key INTEGER PRIMARY KEY,
    endpoint INTEGER NOT NULL,
    message INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due_at INTEGER,               -- NULL: nothing is owed, or nobody pushes it
    trigger INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    last_attempt INTEGER          -- the newest attempt's key; each names the one before
) STRICT;
CREATE INDEX delivery_due ON delivery (endpoint, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_exhausted ON delivery (key) WHERE state = 2;

CREATE TABLE attempt (
    key INTEGER PRIMARY KEY,
    salt INTEGER NOT NULL,
    message INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    previous INTEGER,             -- the attempt before, of the same delivery
    started_at INTEGER NOT NULL,
    trigger INTEGER NOT NULL,
    url INTEGER NOT NULL,
    status INTEGER,
    class INTEGER,
    detail TEXT,
    timings BLOB NOT NULL,        -- LEB128 microseconds: wait, total, dns+1, connect+1, tls+1, first byte+1; 0: none
    body BLOB
) STRICT;

CREATE TABLE url (
    no INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE event_id (
    app INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (app, event_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency (
    app INTEGER NOT NULL,
    key TEXT NOT NULL,
    message INTEGER NOT NULL,
    request_hash BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (app, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE recovery (
    task TEXT PRIMARY KEY,
    kind INTEGER NOT NULL,        -- 0: what failed; 1: what gathered while nobody pushed it
    app INTEGER NOT NULL,
    endpoint INTEGER NOT NULL,
    since INTEGER NOT NULL,
    until INTEGER NOT NULL,
    next_seq INTEGER NOT NULL,
    end_seq INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    done INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
