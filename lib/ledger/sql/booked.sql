-- The effects that a payment has in the ledger, in the order in which they were booked, with what each left on the gateway's clearing account.
SELECT effect, coalesce(sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FILTER (WHERE account = 'clearing'), 0)::bigint AS "clearing!",
       bool_or(effect = 'suspend' AND account = 'clearing' AND side = 'debit') AS "suspends_up!",
       bool_or(effect = 'suspend' AND account = 'clearing' AND side = 'credit') AS "suspends_down!",
       max(gateway) FILTER (WHERE effect = 'suspend') AS suspended_at
FROM ledger_entries
WHERE transaction_id = $1
GROUP BY effect
ORDER BY min(id)
