SELECT api_keys.id AS key_id, user_id, country, rate_exempt, clock_timestamp() AS "checked_at!"
FROM api_keys
JOIN users ON users.id = user_id
WHERE key_hash = $1 AND revoked_at IS NULL
