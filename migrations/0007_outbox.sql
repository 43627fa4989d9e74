-- Why: intent that must reach Kafka is committed with the change that caused it. Rows are only appended; relays find new ones by
-- comparing snapshots, and whole slots are truncated once every lane has passed them. See ARCHITECTURE.md, "The outbox and the relay".
CREATE SEQUENCE outbox_id AS bigint CACHE 1;

CREATE TABLE outbox (
    slot        smallint    NOT NULL,
    lane        smallint    NOT NULL,
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    id          bigint      NOT NULL DEFAULT nextval('outbox_id'),
    aggregate   uuid        NOT NULL,
    seq         bigint      NOT NULL,
    topic       text        NOT NULL,
    type        text        NOT NULL,
    traceparent text,
    payload     bytea       NOT NULL,
    at          timestamptz NOT NULL DEFAULT clock_timestamp()
) PARTITION BY LIST (slot);
CREATE INDEX outbox_delta ON outbox (lane, xid, id);

-- No vacuum because of mere inserts: the rows go by truncation before anything is gained by freezing them.
CREATE TABLE outbox_0 PARTITION OF outbox FOR VALUES IN (0) WITH (autovacuum_vacuum_insert_threshold = -1);
CREATE TABLE outbox_1 PARTITION OF outbox FOR VALUES IN (1) WITH (autovacuum_vacuum_insert_threshold = -1);
CREATE TABLE outbox_2 PARTITION OF outbox FOR VALUES IN (2) WITH (autovacuum_vacuum_insert_threshold = -1);
CREATE TABLE outbox_3 PARTITION OF outbox FOR VALUES IN (3) WITH (autovacuum_vacuum_insert_threshold = -1);

-- Which slot writers append to. `incarnation` counts the times that lanes had to restart from the ring's beginning.
CREATE TABLE outbox_ring (
    singleton   boolean     NOT NULL DEFAULT true CONSTRAINT outbox_ring_pkey PRIMARY KEY
                            CONSTRAINT outbox_ring_one_row CHECK (singleton),
    slot        smallint    NOT NULL DEFAULT 0,
    incarnation integer     NOT NULL DEFAULT 1,
    rotated_at  timestamptz NOT NULL DEFAULT now()
);
INSERT INTO outbox_ring DEFAULT VALUES;

-- Snapshots taken while there is traffic: they cut a backlog into slices that can be paged. Their order is that of the snapshots, not
-- of id or at. `written` is where the ids stood: how many rows lie between two ticks, roughly.
CREATE TABLE outbox_ticks (
    id       bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_ticks_pkey PRIMARY KEY,
    snapshot pg_snapshot NOT NULL,
    written  bigint      NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX outbox_ticks_by_snapshot ON outbox_ticks (pg_snapshot_xmax(snapshot));

-- Membership. `lock_key` is the advisory lock that the member holds while its session lives.
CREATE TABLE relays (
    id         uuid        CONSTRAINT relays_pkey PRIMARY KEY,
    name       text        NOT NULL,
    lock_key   integer     GENERATED ALWAYS AS IDENTITY CONSTRAINT relays_lock_key_unique UNIQUE,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Relays whose registering session lives: it holds the advisory lock (740218, lock_key). Whether the heart still beats is asked beside it.
CREATE VIEW connected_relays AS
SELECT relays.*
FROM relays
WHERE EXISTS (
    SELECT FROM pg_locks
    WHERE pg_locks.locktype = 'advisory' AND pg_locks.granted AND pg_locks.objsubid = 2
      AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND pg_locks.classid = 740218 AND pg_locks.objid = relays.lock_key::oid
);

-- Who drains a lane. Every change of owner raises the epoch; a checkpoint with an older epoch is refused.
CREATE TABLE lanes (
    lane     smallint    CONSTRAINT lanes_pkey PRIMARY KEY CONSTRAINT lanes_not_negative CHECK (lane >= 0),
    epoch    bigint      NOT NULL DEFAULT 0,
    relay    uuid,
    taken_at timestamptz
);
INSERT INTO lanes (lane) SELECT generate_series(0, 15);

-- Progress, append-only while it matters: everything visible in from_snapshot is delivered, and of the slice up to to_snapshot
-- (if one is being paged) everything up to last_id.
CREATE TABLE checkpoints (
    id                bigint      GENERATED ALWAYS AS IDENTITY CONSTRAINT checkpoints_pkey PRIMARY KEY,
    lane              smallint    NOT NULL,
    epoch             bigint      NOT NULL,
    from_snapshot     pg_snapshot NOT NULL,
    to_snapshot       pg_snapshot,
    last_id           bigint      NOT NULL DEFAULT 0,
    system_identifier bigint      NOT NULL,
    timeline          integer     NOT NULL,
    at                timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX checkpoints_latest ON checkpoints (lane, epoch, id);

-- Poison: rows that Kafka refuses for good, and the later rows of the same (aggregate, topic), kept in order.
CREATE TABLE parked (
    id          bigint      CONSTRAINT parked_pkey PRIMARY KEY,
    lane        smallint    NOT NULL,
    aggregate   uuid        NOT NULL,
    seq         bigint      NOT NULL,
    topic       text        NOT NULL,
    type        text        NOT NULL,
    traceparent text,
    payload     bytea       NOT NULL,
    at          timestamptz NOT NULL,
    reason      text        NOT NULL,
    parked_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    retry_at    timestamptz
);
CREATE INDEX parked_pair ON parked (aggregate, topic, id);
CREATE INDEX parked_retry ON parked (lane, retry_at) WHERE retry_at IS NOT NULL;

GRANT SELECT, INSERT, TRUNCATE ON outbox, outbox_0, outbox_1, outbox_2, outbox_3 TO payfleet_app;
GRANT USAGE, SELECT ON SEQUENCE outbox_id TO payfleet_app;
GRANT SELECT, UPDATE ON outbox_ring, lanes TO payfleet_app;
GRANT SELECT, INSERT, DELETE ON outbox_ticks, checkpoints TO payfleet_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON relays, parked TO payfleet_app;
GRANT SELECT ON connected_relays TO payfleet_app;
