-- The letter and the record about it, in one commit; nothing at all when the letter is there already.
WITH buried AS (
    INSERT INTO dead_letters (id, topic, partition, "offset", record_key, record_value, headers, record_hash, reason, event_hash,
                              consumer, attempts, header_names, header_values)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $16, $17, $18, $19)
    ON CONFLICT ON CONSTRAINT dead_letters_record_once DO NOTHING
    RETURNING id
)
INSERT INTO outbox (slot, lane, aggregate, seq, topic, type, traceparent, payload)
SELECT ring.slot, $11, buried.id, 1, $12, $13, $14, $15
FROM buried, outbox_ring ring
