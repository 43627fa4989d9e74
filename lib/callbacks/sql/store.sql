-- Stores callbacks that are new, finds the attempt that each is about, and enqueues a record that points at it, in one commit. A
-- message that was stored before changes nothing. The record belongs to its payment's trace; without a payment, to the message's own.
WITH message AS (
    SELECT *
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::uuid[], $6::text[], $7::text[], $8::bytea[], $9::text[], $10::smallint[],
                $11::text[])
         AS m (id, gateway, event_id, event_type, attempt_id, reference, notice, raw_sealed, raw_key_id, lane, traceparent)
),
matched AS MATERIALIZED (
    SELECT m.*, a.transaction_id, a.id AS found_attempt
    FROM message m
    LEFT JOIN LATERAL (SELECT p.id, p.transaction_id
                       FROM attempts p
                       WHERE p.gateway = m.gateway
                         AND (p.id = m.attempt_id OR (m.attempt_id IS NULL AND p.reference = m.reference))
                       LIMIT 1) a ON true
),
recorded AS MATERIALIZED (
    SELECT m.*,
           convert_to(json_build_object('callback_id', m.id, 'gateway', m.gateway, 'transaction_id', m.transaction_id)::text, 'UTF8') AS payload
    FROM matched m
),
stored AS (
    INSERT INTO callbacks (id, gateway, event_id, event_type, transaction_id, attempt_id, notice, raw_sealed, raw_key_id, due_at, event_hash)
    SELECT id, gateway, event_id, event_type, transaction_id, found_attempt, notice::jsonb, raw_sealed, raw_key_id,
           clock_timestamp() + interval '15 seconds', sha256(payload)
    FROM recorded
    ORDER BY gateway, event_id
    ON CONFLICT ON CONSTRAINT callbacks_event_once DO NOTHING
    RETURNING id
),
sent AS (
    INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, traceparent, payload)
    SELECT (SELECT slot FROM outbox_ring WHERE singleton), r.lane, r.id, 1, 'payments.callbacks', 'payfleet.callback.stored.v1',
           coalesce((SELECT t.traceparent FROM transactions t WHERE t.id = r.transaction_id), r.traceparent), r.payload
    FROM recorded r
    JOIN stored s ON s.id = r.id
    ORDER BY r.id
)
SELECT EXISTS (SELECT FROM stored s WHERE s.id = m.id) AS "new!", clock_timestamp() AS "now!"
FROM unnest($1::uuid[]) WITH ORDINALITY AS m (id, n)
ORDER BY m.n
