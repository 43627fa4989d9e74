-- Takes stored callbacks that were not applied in time; as lib/transactions/sql/claim_due.sql does payments.
WITH due AS MATERIALIZED (
    SELECT id, due_at, received_at
    FROM callbacks
    WHERE due_at >= coalesce($1::timestamptz, '-infinity') AND due_at <= statement_timestamp() AND gateway <> ALL ($2::text[])
    ORDER BY due_at
    LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE callbacks k
    SET due_at = statement_timestamp()
                 + greatest($4 * interval '1 millisecond',
                            least($5 * interval '1 millisecond', (statement_timestamp() - due.received_at) / 2)) * (1 + random() / 5)
    FROM due
    WHERE k.id = due.id
    RETURNING k.id, k.gateway, due.due_at
)
SELECT statement_timestamp() AS "now!", c.id AS "id?", c.gateway AS "gateway?", c.due_at AS "due_at?"
FROM (VALUES (1)) always (one)
LEFT JOIN claimed c ON true
ORDER BY c.due_at
