SELECT t.id, t.type AS kind, t.user_id, t.account_id, a.available, a.owed, t.amount, t.currency, t.country, t.pinned_gateway, t.destination_kind,
       t.return_url, t.status, t.substatus, t.gateway, t.attempt, t.round, t.next_action_url, t.next_action_expires_at, t.version, t.asks,
       t.submit_until, t.created_at, t.updated_at, clock_timestamp() AS "now!",
       t.status IN ('succeeded', 'failed', 'expired')
       AND coalesce((SELECT true
                     FROM transitions x
                     WHERE x.transaction_id = t.id AND x.to_status = t.status AND x.cause LIKE '%:contradicts'
                     LIMIT 1), false) AS "contradicted!"
FROM transactions t
JOIN accounts a ON a.id = t.account_id
WHERE t.id = ANY ($1)
