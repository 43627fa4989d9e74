-- Payments as the gateways' side is held against them. `booked` is what success moved at the gateway, `taken_back` what a reversal did.
SELECT payment.id, payment.type AS kind, payment.status, payment.attempt, payment.gateway, payment.amount, payment.currency,
       payment.created_at,
       coalesce(ledger.booked, 0)::bigint AS "booked!", coalesce(ledger.taken_back, 0)::bigint AS "taken_back!"
FROM transactions payment
LEFT JOIN (SELECT transaction_id,
                  sum(amount) FILTER (WHERE effect IN ('credit', 'post')) AS booked,
                  sum(amount) FILTER (WHERE effect = 'reverse') AS taken_back
           FROM ledger_entries WHERE account = 'clearing' GROUP BY transaction_id) ledger ON ledger.transaction_id = payment.id
