-- Payments as the gateways' side is held against them. `booked` is what success moved at the gateway, `taken_back` what a reversal did,
-- `booked_at` the gateways whose accounts say so; `at_gateway` what each of `gateways` has for us by it, what a person has put into suspense
-- included; `by_hand` that a person has led it out of review, `was_silent` that it ever came there because its gateway did not answer.
SELECT payment.id, payment.type AS kind, payment.status, payment.reason_code, payment.attempt, payment.gateway, payment.amount,
       payment.currency,
       coalesce(ledger.booked, 0)::bigint AS "booked!", coalesce(ledger.taken_back, 0)::bigint AS "taken_back!",
       coalesce(ledger.booked_at, '{}') AS "booked_at!",
       coalesce(ledger.gateways, '{}') AS "gateways!", coalesce(ledger.at_gateway, '{}') AS "at_gateway!",
       coalesce(review.by_hand, false) AS "by_hand!", coalesce(review.was_silent, false) AS "was_silent!",
       extract(epoch FROM clock_timestamp() - payment.created_at)::bigint AS "age_s!"
FROM transactions payment
LEFT JOIN (SELECT transaction_id,
                  sum(booked) AS booked,
                  sum(taken_back) AS taken_back,
                  array_agg(gateway) FILTER (WHERE booked > 0 OR taken_back > 0) AS booked_at,
                  array_agg(gateway ORDER BY gateway) AS gateways, array_agg(at_gateway ORDER BY gateway) AS at_gateway
           FROM (SELECT transaction_id, gateway,
                        sum(amount) FILTER (WHERE effect IN ('credit', 'post', 'recover')) AS booked,
                        sum(amount) FILTER (WHERE effect = 'reverse') AS taken_back,
                        sum(CASE side WHEN 'debit' THEN amount ELSE -amount END)::bigint AS at_gateway
                 FROM ledger_entries
                 WHERE account = 'clearing' AND gateway IS NOT NULL
                 GROUP BY transaction_id, gateway) at_each
           GROUP BY transaction_id) ledger ON ledger.transaction_id = payment.id
LEFT JOIN (SELECT transaction_id, bool_or(actor = 'operator' AND from_status = 'review' AND to_status <> 'review') AS by_hand,
                  bool_or(reason_code IN ('gateway_silent', 'bell_unanswered')) AS was_silent
           FROM transitions
           WHERE 'review' IN (from_status, to_status)
           GROUP BY transaction_id) review ON review.transaction_id = payment.id
