-- Parked before already: the checkpoint that passed it was lost, the row was not.
INSERT INTO parked (id, lane, aggregate, seq, topic, type, traceparent, payload, at, reason, retry_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp() + $11::bigint * interval '1 millisecond')
ON CONFLICT ON CONSTRAINT parked_pkey DO NOTHING
