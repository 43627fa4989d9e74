-- Takes payments that are due, the longest due first, and pushes their due_at forward: other replicas then leave them alone, and
-- one whose handling fails comes again by itself. The push grows with the time for which the payment has not moved.
-- statement_timestamp(), because an index condition needs a time that stands still; $1 is where the index is entered.
WITH due AS MATERIALIZED (
    SELECT id, due_at, updated_at
    FROM transactions
    WHERE due_at >= coalesce($1::timestamptz, '-infinity') AND due_at <= statement_timestamp() AND gateway <> ALL ($2::text[])
    ORDER BY due_at
    LIMIT $3
    FOR NO KEY UPDATE SKIP LOCKED
),
claimed AS (
    UPDATE transactions t
    SET due_at = statement_timestamp()
                 + greatest($4 * interval '1 millisecond',
                            least($5 * interval '1 millisecond', (statement_timestamp() - due.updated_at) / 2)) * (1 + random() / 5)
    FROM due
    WHERE t.id = due.id
    RETURNING t.id, t.gateway, due.due_at
)
SELECT statement_timestamp() AS "now!", c.id AS "id?", c.gateway AS "gateway?", c.due_at AS "due_at?"
FROM (VALUES (1)) always (one)
LEFT JOIN claimed c ON true
ORDER BY c.due_at
