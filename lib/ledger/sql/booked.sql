-- The effects that a payment has in the ledger, in the order in which they were booked, with what each left on the gateway's clearing account.
SELECT effect, coalesce(sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FILTER (WHERE account = 'clearing'), 0)::bigint AS "clearing!"
FROM ledger_entries
WHERE transaction_id = $1
GROUP BY effect
ORDER BY min(id)
