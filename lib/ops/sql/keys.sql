SELECT key.user_id, key.endpoint, key.key, key.transaction_id, key.reply_status, key.reply_type, key.reply_body,
       payment.type AS "kind?", payment.user_id AS "owner?", payment.amount AS "amount?", payment.currency AS "currency?"
FROM idempotency_keys key LEFT JOIN transactions payment ON payment.id = key.transaction_id
