-- What became of the keys that a load used.
SELECT key.key AS "key!", key.transaction_id AS "transaction_id!", payment.type AS "kind?", payment.amount AS "amount?", payment.currency AS "currency?",
       sha256(key.reply_body) AS "reply_hash!"
FROM idempotency_keys key LEFT JOIN transactions payment ON payment.id = key.transaction_id
WHERE key.key = ANY($1)
