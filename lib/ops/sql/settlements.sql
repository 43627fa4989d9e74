-- Payments as the gateways' side is held against them. `booked` is what success moved at the gateway, `taken_back` what a reversal did,
-- `suspended` how much more a person found the gateway to have, `booked_at` the gateways whose accounts say so; `by_hand` that a person
-- has led it out of review.
SELECT payment.id, payment.type AS kind, payment.status, payment.reason_code, payment.attempt, payment.gateway, payment.amount,
       payment.currency,
       coalesce(ledger.booked, 0)::bigint AS "booked!", coalesce(ledger.taken_back, 0)::bigint AS "taken_back!",
       coalesce(ledger.suspended, 0)::bigint AS "suspended!",
       coalesce(ledger.booked_at, '{}') AS "booked_at!", operator.transaction_id IS NOT NULL AS "by_hand!",
       extract(epoch FROM clock_timestamp() - payment.created_at)::bigint AS "age_s!"
FROM transactions payment
LEFT JOIN (SELECT transaction_id,
                  sum(amount) FILTER (WHERE effect IN ('credit', 'post', 'recover')) AS booked,
                  sum(amount) FILTER (WHERE effect = 'reverse') AS taken_back,
                  sum(CASE side WHEN 'debit' THEN amount ELSE -amount END) FILTER (WHERE effect = 'suspend') AS suspended,
                  array_agg(DISTINCT gateway) FILTER (WHERE effect IN ('credit', 'post', 'recover', 'reverse') AND gateway IS NOT NULL) AS booked_at
           FROM ledger_entries WHERE account = 'clearing' GROUP BY transaction_id) ledger ON ledger.transaction_id = payment.id
LEFT JOIN (SELECT DISTINCT transaction_id
           FROM transitions
           WHERE actor = 'operator' AND from_status = 'review' AND to_status <> 'review') operator ON operator.transaction_id = payment.id
