-- Every event that the books know of: where it must be, under which number, with which payload. $1: of these aggregates only, if given.
-- Callbacks and dead letters are their own aggregates, with the one number 1.
SELECT transaction_id AS "aggregate!", event_seq AS "seq!", 'payments.events' AS "topic!", event_hash AS "hash!"
FROM transitions WHERE $1::uuid[] IS NULL OR transaction_id = ANY($1)
UNION ALL
SELECT transaction_id, command_seq, command_topic, command_hash
FROM transitions WHERE command_seq IS NOT NULL AND ($1::uuid[] IS NULL OR transaction_id = ANY($1))
UNION ALL
SELECT id, 1, 'payments.callbacks', event_hash
FROM callbacks WHERE $1::uuid[] IS NULL OR id = ANY($1)
UNION ALL
SELECT id, 1, 'payments.dead', event_hash
FROM dead_letters WHERE $1::uuid[] IS NULL OR id = ANY($1)
