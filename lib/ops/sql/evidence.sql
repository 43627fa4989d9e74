-- Every event that the books know of: where it must be, under which number, with which payload, and (steps only) by which transaction
-- it was emitted. $1: of these aggregates only, if given.
-- Callbacks and dead letters are their own aggregates, with the one number 1.
SELECT transaction_id AS "aggregate!", event_seq AS "seq!", 'payments.events' AS "topic!", event_hash AS "hash!",
       xid::text::bigint AS "xid?"
FROM transitions WHERE $1::uuid[] IS NULL OR transaction_id = ANY($1)
UNION ALL
SELECT transaction_id, command_seq, command_topic, command_hash, xid::text::bigint
FROM transitions WHERE command_seq IS NOT NULL AND ($1::uuid[] IS NULL OR transaction_id = ANY($1))
UNION ALL
SELECT id, 1, 'payments.callbacks', event_hash, NULL
FROM callbacks WHERE $1::uuid[] IS NULL OR id = ANY($1)
UNION ALL
SELECT id, 1, 'payments.dead', event_hash, NULL
FROM dead_letters WHERE $1::uuid[] IS NULL OR id = ANY($1)
