-- Whatever the planner believes of sizes, operations are looked up by attempt: where it knew nothing of either table yet, it would read all
-- of them for each payment, and keep to that.
SELECT p.id, p.transaction_id, p.number, p.round, p.gateway, p.state, p.reference, p.not_found, p.not_found_at, p.created_at,
       o.kind AS "operation?", o.calls AS "calls?", o.send_by AS "send_by?", o.outcome = 'rejected' AS rejected
FROM attempts p
LEFT JOIN LATERAL (SELECT kind, calls, send_by, outcome FROM operations WHERE attempt_id = p.id OFFSET 0) o ON true
WHERE p.transaction_id = ANY ($1)
ORDER BY p.transaction_id, p.number, o.kind
