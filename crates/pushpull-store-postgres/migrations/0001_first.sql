-- The words are those of the domain. Times are milliseconds since the Unix epoch, but where a column says otherwise.
-- `no` numbers a row for the store alone. A message's key is app << 40 | position, a delivery's endpoint << 40 | seq,
-- an attempt's endpoint << 40 | n.
--
-- Messages, deliveries and attempts lie in partitions, one for each day on which they were written, so that what is
-- too old goes by dropping a table. `day` counts days since the Unix epoch. It never goes back: it is the newest day of
-- `open_day`, so that of two rows of one log or queue the later one never lies in an earlier partition.

CREATE TABLE setting (
    name text PRIMARY KEY,
    value bigint NOT NULL
);

CREATE TABLE environment (
    no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL UNIQUE,
    name text NOT NULL,
    created_at bigint NOT NULL
);

CREATE TABLE api_key (
    hash bytea PRIMARY KEY,
    id text NOT NULL UNIQUE,
    environment integer NOT NULL,
    prefix text NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,          -- admin, send, read, app or poller
    app integer,                  -- with scope app or poller
    endpoint integer,             -- with scope poller
    token bytea,                  -- sealed; of an endpoint's current poller token
    created_at bigint NOT NULL,
    last_used_at bigint,
    revoked_at bigint
);
CREATE INDEX api_key_revoked ON api_key (revoked_at) WHERE revoked_at IS NOT NULL;
CREATE INDEX api_key_endpoint ON api_key (endpoint) WHERE endpoint IS NOT NULL;
CREATE INDEX api_key_app ON api_key (app) WHERE app IS NOT NULL;

CREATE TABLE app (
    no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    environment integer NOT NULL,
    uid text,
    name text NOT NULL,
    rate_limit integer,
    metadata text NOT NULL,
    version bigint NOT NULL,      -- grows with each change to it or to one of its endpoints
    trimmed_position bigint NOT NULL DEFAULT 0,
    erased_position bigint NOT NULL DEFAULT 0,   -- payloads up to here were erased by age, but for those with a time
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint
);
CREATE UNIQUE INDEX app_id ON app (environment, id COLLATE "C") WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX app_uid ON app (environment, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX app_deleted ON app (no) WHERE deleted_at IS NOT NULL;

CREATE TABLE event_type (
    environment integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    description text NOT NULL,
    archived boolean NOT NULL,
    deprecated boolean NOT NULL,
    schemas text,
    feature_flags text,
    group_name text,
    retry_schedule text,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    PRIMARY KEY (environment, name)
);

CREATE TABLE endpoint (
    no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id text NOT NULL,
    app integer NOT NULL,
    uid text,
    url text NOT NULL,
    description text NOT NULL,
    event_types text,
    channels text,
    mode smallint NOT NULL,
    disabled_at bigint,
    disabled_reason smallint,
    failing_since bigint,
    failing_notified boolean NOT NULL DEFAULT false,
    rate_limit integer,
    retry_schedule text,
    fifo boolean NOT NULL,
    batch_size integer NOT NULL DEFAULT 1,
    batch_wait_secs integer NOT NULL DEFAULT 0,
    hold_when_failing boolean NOT NULL DEFAULT false,
    headers bytea NOT NULL,       -- sealed
    secrets bytea NOT NULL,       -- sealed
    metadata text NOT NULL,
    read_seq bigint NOT NULL DEFAULT 0,   -- up to here readers were done when it was pushed again
    draining_since bigint,        -- it left push then, and something may still be in flight
    ended_seq bigint DEFAULT 0,   -- of a deleted one: up to here nothing is owed any more; NULL: nothing at all
    trimmed_seq bigint NOT NULL DEFAULT 0,       -- retention removed something up to here
    begin_seq bigint NOT NULL DEFAULT 0,         -- ... and everything up to here
    trimmed_attempt bigint NOT NULL DEFAULT 0,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint
);
CREATE INDEX endpoint_app ON endpoint (app) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX endpoint_uid ON endpoint (app, uid) WHERE uid IS NOT NULL AND deleted_at IS NULL;
CREATE INDEX endpoint_draining ON endpoint (no) WHERE draining_since IS NOT NULL;
CREATE INDEX endpoint_ending ON endpoint (no) WHERE deleted_at IS NOT NULL AND ended_seq IS NOT NULL;
CREATE INDEX endpoint_ended ON endpoint (no) WHERE deleted_at IS NOT NULL AND ended_seq IS NULL;

-- Its rows change with each read: room is left beside them, so that the indexes need not change too.
CREATE TABLE consumer (
    endpoint integer NOT NULL,
    name text COLLATE "C" NOT NULL,
    committed bigint NOT NULL,    -- every seq up to here is done
    handed bigint NOT NULL,       -- handed out up to here
    holder text,                  -- of the lease, if it was named
    leased_until bigint,          -- NULL: no lease
    idle_ms bigint NOT NULL,      -- removed when not seen for so long
    max_deliver integer NOT NULL, -- work queue: handed out so often before it is parked; 0: never parked
    seen_at bigint NOT NULL,
    expires_at bigint NOT NULL,   -- not before this: cut to a minute, since what is in an index should change rarely
    created_at bigint NOT NULL,
    PRIMARY KEY (endpoint, name)
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX consumer_expires ON consumer (expires_at);

-- A work queue's exceptions: what was taken of the seqs up to the handed one and is not done. What has no row is done.
CREATE TABLE consumer_item (
    endpoint integer NOT NULL,
    consumer text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    day integer NOT NULL,         -- its delivery's
    due_at bigint,                -- it comes back then; NULL: it is parked
    holder text,                  -- who took it, if it was named
    delivered integer NOT NULL,   -- how often it was handed out
    PRIMARY KEY (endpoint, consumer, seq)
) WITH (autovacuum_vacuum_scale_factor = 0.01);
CREATE INDEX consumer_item_due ON consumer_item (endpoint, consumer, due_at, seq) WHERE due_at IS NOT NULL;

-- The days that were or are written to: the newest of them is the one that is.
CREATE TABLE open_day (
    day integer PRIMARY KEY
);

-- The days that have partitions, some before they are written to; and how far retention has come with removing one.
CREATE TABLE made_day (
    day integer PRIMARY KEY,
    stage smallint NOT NULL DEFAULT 0,      -- 0: it is kept; the rest stands in `trim/day.rs`
    reached bigint NOT NULL DEFAULT 0,      -- in that stage, up to this key
    messages bigint NOT NULL DEFAULT 0,     -- counted so far
    cancelled bigint NOT NULL DEFAULT 0,
    erased boolean NOT NULL DEFAULT false   -- its payloads were erased by age
);

CREATE TABLE message (
    day integer NOT NULL,
    key bigint NOT NULL,
    created_at bigint NOT NULL,
    salt bigint NOT NULL,
    event_type text NOT NULL,
    channels text,                -- separated by spaces
    tags text,                    -- separated by spaces
    event_id text,
    content_type text,
    deliver_at bigint,
    payload_expires_at bigint,
    endpoints integer[] NOT NULL, -- its deliveries: whose queues it joined
    seqs bigint[] NOT NULL,       -- ... and where in each
    payload bytea,                -- NULL: expunged
    PRIMARY KEY (key, day)
) PARTITION BY LIST (day);
CREATE INDEX message_payload_expires ON message (payload_expires_at) WHERE payload_expires_at IS NOT NULL;

CREATE TABLE delivery (
    day integer NOT NULL,         -- on which it joined the queue: not before its message's
    key bigint NOT NULL,
    endpoint integer NOT NULL,
    message bigint NOT NULL,
    message_day integer NOT NULL,
    state smallint NOT NULL,
    due_at bigint,                -- NULL: nothing is owed, or nobody pushes it
    trigger smallint NOT NULL,
    attempts integer NOT NULL,
    last_attempt bigint,          -- the newest attempt's key, and its day; each names the one before
    last_attempt_day integer,
    PRIMARY KEY (key, day)
) PARTITION BY LIST (day);
CREATE INDEX delivery_due ON delivery (endpoint, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_exhausted ON delivery (key) WHERE state = 2;
-- Those that joined a queue on a later day than their message was made: sent again by hand.
CREATE INDEX delivery_later ON delivery (message_day) WHERE day <> message_day;

CREATE TABLE attempt (
    day integer NOT NULL,         -- on which it was written down: not before its delivery's
    key bigint NOT NULL,
    salt bigint NOT NULL,
    message bigint NOT NULL,
    message_day integer NOT NULL,
    seq bigint NOT NULL,
    previous bigint,              -- the attempt before, of the same delivery, and its day
    previous_day integer,
    started_at bigint NOT NULL,
    trigger smallint NOT NULL,
    url text NOT NULL,
    status smallint,
    class smallint,
    detail text,
    timings bytea NOT NULL,       -- LEB128 microseconds: wait, total, dns+1, connect+1, tls+1, first byte+1; 0: none
    body bytea,
    PRIMARY KEY (key, day)
) PARTITION BY LIST (day);

CREATE TABLE event_id (
    app integer NOT NULL,
    event_id text NOT NULL,
    message bigint NOT NULL,
    day integer NOT NULL,         -- its message's
    PRIMARY KEY (app, event_id)
);
CREATE INDEX event_id_day ON event_id (day);

CREATE TABLE idempotency (
    app integer NOT NULL,
    key text NOT NULL,
    message bigint NOT NULL,
    day integer NOT NULL,         -- its message's
    request_hash bytea NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (app, key)
);
CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE recovery (
    task text PRIMARY KEY,
    kind smallint NOT NULL,       -- 0: what failed; 1: what gathered while nobody pushed it; 2: what is withdrawn
    app integer NOT NULL,
    endpoint integer NOT NULL,
    since bigint NOT NULL,
    until bigint NOT NULL,
    next_seq bigint NOT NULL,
    end_seq bigint NOT NULL,
    updated_at bigint NOT NULL,
    done boolean NOT NULL
);
CREATE INDEX recovery_unfinished ON recovery (endpoint) WHERE NOT done;

-- The processes that work on this store. Their leases are by the database's clock.
CREATE TABLE node (
    no integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    version text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    leased_until timestamptz NOT NULL
);

-- Applications belong to shards by their number; a shard's node brings what they are owed. The epoch grows with each
-- change of hands, and what was decided under an older one is not written.
CREATE TABLE shard (
    no smallint PRIMARY KEY,
    node integer,
    epoch bigint NOT NULL DEFAULT 0
);
INSERT INTO shard (no) SELECT generate_series(0, 63);

-- What changed, for the other nodes, written with the change itself: they look here twice a second, and at once when
-- they are told. Kept for a minute. Empty after a crash of the database, when every node looks at everything.
CREATE UNLOGGED TABLE news (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    node integer NOT NULL,
    joined integer[] NOT NULL,        -- endpoints whose queues grew, and their applications
    joined_app integer[] NOT NULL,
    rescheduled integer[] NOT NULL,   -- endpoints that may be owed more than before, and their applications
    rescheduled_app integer[] NOT NULL,
    configured integer[] NOT NULL     -- applications that were changed
);
CREATE INDEX news_xid ON news (xid);
CREATE INDEX news_at ON news (at);

-- The newest message of an application, wherever it lies: for the first of a day.
CREATE FUNCTION last_message(of_app integer, OUT key bigint, OUT created_at bigint) RETURNS SETOF record
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT m.key, m.created_at FROM message m
        WHERE m.key BETWEEN of_app::bigint << 40 AND ((of_app::bigint + 1) << 40) - 1 ORDER BY m.key DESC LIMIT 1;
END $$;

-- The newest delivery of an endpoint.
CREATE FUNCTION last_delivery(of_endpoint integer) RETURNS SETOF bigint
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT d.key FROM delivery d
        WHERE d.key BETWEEN of_endpoint::bigint << 40 AND ((of_endpoint::bigint + 1) << 40) - 1
        ORDER BY d.key DESC LIMIT 1;
END $$;
