SELECT p.id, p.transaction_id, p.number, p.round, p.gateway, p.state, p.reference, p.not_found, p.not_found_at, p.created_at,
       o.kind AS "operation?", o.calls AS "calls?", o.send_by AS "send_by?", o.outcome = 'rejected' AS rejected
FROM attempts p
LEFT JOIN operations o ON o.attempt_id = p.id
WHERE p.transaction_id = ANY ($1)
ORDER BY p.transaction_id, p.number, o.kind
