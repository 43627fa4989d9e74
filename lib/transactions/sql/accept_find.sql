SELECT transaction_id, command_hash, reply_status, reply_type, reply_body
FROM idempotency_keys
WHERE user_id = $1 AND endpoint = $2 AND key = $3
