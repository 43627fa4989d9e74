SELECT from_status, to_status, count(*) AS "steps!", min(transaction_id::text || ' version ' || version) AS "example!"
FROM transitions
GROUP BY from_status, to_status
